/**
 * One GET, or PUT without a body, on a connection of its own: the requests of the sidecar to its broker, and to itself.
 *
 * Not node:http's client, because of a measurement (Node 24, README.md): its first use costs 6 ms of a start and 0.4 MiB
 * in every pod, for two requests an hour. It asks in HTTP/1.0, so that an answer ends by its Content-Length or with
 * its connection and is never chunked (RFC 9112 section 7.1); everything it reads is bounded and timed.
 */
import { connect } from 'node:net'

export type GetOptions = {
  /** Address or name, without the brackets of a URL. */
  readonly host: string
  readonly port: number
  readonly path: string
  /** Beyond `Host` and `Connection`. */
  readonly headers?: Readonly<Record<string, string>>
  /** Time to connect, milliseconds. */
  readonly connectTimeout: number
  /** Time for the whole answer, milliseconds. */
  readonly answerTimeout: number
  /** Longest body, bytes. */
  readonly maxBody: number
}

export type Answer = {
  readonly status: number
  /** Value of a header by its lower-case name; the first one where it came twice. */
  readonly header: (name: string) => string | undefined
  readonly body: string
}

/** The peer does not speak HTTP as expected, or its answer is too long. */
export class AnswerError extends Error {}

const MAX_HEAD = 8192
const HEAD_END = '\r\n\r\n'
const STATUS_LINE = /^HTTP\/1\.[01] ([2-5]\d\d)(?: [^\r\n]*)?\r\n/
const HEADER_LINE = /^([!#$%&'*+.^_`|~\dA-Za-z-]+):[ \t]*([^\r\n]*)$/
/** No CR, LF or anything else that would end a line or a target early. */
const SENDABLE = /^[\x20-\x7e]*$/

/**
 * Resolves with the answer, whatever its status.
 *
 * @throws {AnswerError} for what is no answer of HTTP/1.x or too long; the socket's error, with its `code`, when there
 * is no connection; an error with a sentence when time ran out or the answer was cut short
 */
export const get = (options: GetOptions): Promise<Answer> => ask('GET', options)

/** A PUT without a body; otherwise as {@link get}. */
export const put = (options: GetOptions): Promise<Answer> => ask('PUT', options)

function ask(method: 'GET' | 'PUT', options: GetOptions): Promise<Answer> {
  const { host, port, path, headers = {}, connectTimeout, answerTimeout, maxBody } = options
  const lines = [`${method} ${path} HTTP/1.0`, `Host: ${host.includes(':') ? `[${host}]` : host}:${port}`]
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
  if (!lines.every((line) => SENDABLE.test(line)))
    return Promise.reject(new Error('the request has a character that HTTP does not allow'))

  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  // One address only: the caller decides which is tried next.
  const socket = connect({ host, port, autoSelectFamily: false })
  const fail = (error: Error) => {
    reject(error)
    socket.destroy()
  }
  const late = (what: string, milliseconds: number) =>
    setTimeout(() => fail(new Error(`${what} within ${milliseconds} ms`)), milliseconds)
  const answering = late('no complete answer', answerTimeout)
  const connecting = late('no connection', connectTimeout)
  const answer = new AnswerReader(maxBody)
  const read = (take: () => Answer | undefined) => {
    try {
      const whole = take()
      if (whole === undefined) return
      resolve(whole)
      socket.destroy()
    } catch (error) {
      fail(error instanceof Error ? error : new Error(String(error)))
    }
  }
  socket.once('connect', () => {
    clearTimeout(connecting)
    socket.write(`${lines.join('\r\n')}${HEAD_END}`)
  })
  socket.on('data', (chunk) => read(() => answer.take(chunk)))
  socket.once('end', () => read(() => answer.end()))
  socket.once('error', fail)
  socket.once('close', () => {
    clearTimeout(answering)
    clearTimeout(connecting)
    reject(new Error('the connection ended before the answer was complete'))
  })
  return promise
}

type Head = { readonly status: number; readonly headers: ReadonlyMap<string, string> }

/** Puts an answer together from the pieces that arrive. */
class AnswerReader {
  readonly #maxBody: number
  #bytes: Uint8Array = new Uint8Array()
  #head: (Head & { readonly length: number | undefined }) | undefined

  constructor(maxBody: number) {
    this.#maxBody = maxBody
  }

  /** The answer, once it is whole by its Content-Length. */
  take(chunk: Uint8Array): Answer | undefined {
    this.#bytes = Buffer.concat([this.#bytes, chunk])
    this.#head ??= this.#takeHead()
    const head = this.#head
    if (head === undefined) return undefined
    if (Math.max(this.#bytes.length, head.length ?? 0) > this.#maxBody)
      throw new AnswerError(`the answer is longer than ${this.#maxBody} bytes`)
    return head.length !== undefined && this.#bytes.length >= head.length ? this.#whole(head) : undefined
  }

  /** The connection ended: the answer is whole where it had no Content-Length. */
  end(): Answer {
    if (this.#head === undefined && this.#bytes.length > 0)
      throw new AnswerError('the answer is not one of HTTP/1.x')
    if (this.#head === undefined || this.#head.length !== undefined)
      throw new Error('the connection ended before the answer was complete')
    return this.#whole(this.#head)
  }

  #takeHead() {
    const text = Buffer.from(
      this.#bytes.buffer,
      this.#bytes.byteOffset,
      Math.min(this.#bytes.length, MAX_HEAD),
    )
    const end = text.indexOf(HEAD_END)
    if (end === -1) {
      if (this.#bytes.length >= MAX_HEAD || !startsLikeHttp(text))
        throw new AnswerError('the answer is not one of HTTP/1.x')
      return undefined
    }
    const head = parseHead(text.toString('latin1', 0, end + 2))
    this.#bytes = this.#bytes.subarray(end + HEAD_END.length)
    return { ...head, length: lengthOf(head.headers) }
  }

  #whole({ status, headers, length }: Head & { readonly length: number | undefined }): Answer {
    const body = Buffer.from(this.#bytes.subarray(0, length)).toString('utf8')
    return { status, header: (name) => headers.get(name), body }
  }
}

function startsLikeHttp(bytes: Buffer): boolean {
  return 'HTTP/1.'.startsWith(bytes.toString('latin1', 0, 7))
}

function parseHead(text: string): Head {
  const status = STATUS_LINE.exec(text)
  if (status === null) throw new AnswerError('the answer is not one of HTTP/1.x')
  const headers = new Map<string, string>()
  for (const line of text.slice(status[0].length).split('\r\n').slice(0, -1)) {
    const [, name, value] = HEADER_LINE.exec(line) ?? []
    if (name === undefined || value === undefined)
      throw new AnswerError('the answer has a header line that is none')
    const key = name.toLowerCase()
    if (!headers.has(key)) headers.set(key, value.trimEnd())
    else if (key === 'content-length') throw new AnswerError('the answer has two lengths')
  }
  return { status: Number(status[1]), headers }
}

function lengthOf(headers: ReadonlyMap<string, string>): number | undefined {
  if (headers.has('transfer-encoding'))
    throw new AnswerError('the answer is chunked, which HTTP/1.0 does not know')
  const length = headers.get('content-length')
  if (length === undefined) return undefined
  if (!/^\d{1,10}$/.test(length)) throw new AnswerError('the answer has a length that is no number')
  return Number(length)
}
