const MAX_LINE = 8 * 1024 * 1024

/**
 * The JSON values of a stream with one per line, as a watch sends them. An unfinished last line (a connection that was
 * cut) is dropped: what it said comes again with the next watch.
 *
 * @throws on a line that is not JSON or longer than 8 MiB (an object in etcd has at most 1.5)
 */
export async function* jsonLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<unknown> {
  const parts: Buffer[] = []
  let size = 0
  for await (const chunk of chunks) {
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      parts.push(chunk.subarray(from, end))
      const line = Buffer.concat(parts.splice(0)).toString('utf8')
      size = 0
      from = end + 1
      if (line.trim() !== '') yield JSON.parse(line)
    }
    const rest = chunk.subarray(from)
    if (rest.length > 0) parts.push(rest)
    size += rest.length
    if (size > MAX_LINE) throw new Error(`a line of the watch is longer than ${MAX_LINE} bytes`)
  }
}
