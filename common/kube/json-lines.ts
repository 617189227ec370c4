/**
 * The largest object read, bytes of JSON. etcd takes 1.5 MiB as protobuf; Go's encoder escapes `<`, `>`, `&` and control
 * characters with six bytes each (encoding/json, HTMLEscape), which makes up to 9.
 */
export const MAX_OBJECT = 16 * 1024 * 1024

/** Stands for an object that was too large to be read. */
export const oversize = Symbol('oversize')

/**
 * The JSON values of a stream with one per line, as a watch sends them. An unfinished last line (a connection that was
 * cut) is dropped: its event comes again with the next watch. A line longer than `max` bytes is not kept, and yields
 * {@link oversize}.
 *
 * @throws {SyntaxError} on a line that is not JSON
 */
export async function* jsonLines(
  chunks: AsyncIterable<Buffer>,
  max: number = MAX_OBJECT,
): AsyncGenerator<unknown> {
  const parts: Buffer[] = []
  let size = 0
  const add = (part: Buffer) => {
    size += part.length
    if (size > max) parts.length = 0
    else if (part.length > 0) parts.push(part)
  }
  for await (const chunk of chunks) {
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      add(chunk.subarray(from, end))
      const isOversize = size > max
      const line = Buffer.concat(parts.splice(0)).toString('utf8')
      size = 0
      from = end + 1
      if (isOversize) yield oversize
      else if (line.trim() !== '') yield JSON.parse(line)
    }
    add(chunk.subarray(from))
  }
}
