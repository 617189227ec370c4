import { type ClientRequest, request as http, type IncomingMessage, type RequestOptions } from 'node:http'
import { request as https } from 'node:https'

export type HttpReply = {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

type HttpOptions = RequestOptions & {
  /** For the whole exchange, milliseconds. */
  readonly timeoutMs: number
  /** Largest body accepted. */
  readonly maxBytes: number
  readonly body?: string
}

/** The answer is larger than allowed. */
export class TooLargeError extends Error {
  /** The answer's first 4 KiB. */
  readonly head: string
  constructor(maxBytes: number, head = '') {
    super(`the answer is larger than ${maxBytes} bytes`)
    this.name = 'TooLargeError'
    this.head = head
  }
}
const HEAD = 4096

/**
 * One HTTP exchange over node:http, which takes a private CA, a client certificate and an agent, as fetch does not.
 *
 * @throws {TooLargeError} for an answer larger than allowed
 * @throws if no complete answer came in time; an answer with any status is returned
 */
export async function httpRequest(url: URL, options: HttpOptions): Promise<HttpReply> {
  const { timeoutMs, maxBytes, body, ...rest } = options
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const response = await open(url, { ...rest, signal }, body)
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of response) {
      size += chunk.length
      chunks.push(chunk)
      if (size > maxBytes)
        throw new TooLargeError(maxBytes, Buffer.concat(chunks, Math.min(size, HEAD)).toString('utf8'))
    }
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: Buffer.concat(chunks.splice(0)).toString('utf8'),
    }
  } catch (error) {
    throw signal.aborted ? new Error(`no answer within ${timeoutMs} ms`, { cause: error }) : error
  }
}

/**
 * Sends a request and resolves with the response as soon as its headers are there; the body is the caller's. A GET
 * whose kept connection the server had just given up is sent again, as Node's documentation of `reusedSocket` advises.
 */
export function open(url: URL, options: RequestOptions, body?: string): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const send = url.protocol === 'https:' ? https : http
  const request: ClientRequest = send(url, options)
  let answered = false
  request.on('response', (response) => {
    answered = true
    resolve(response)
  })
  request.on('error', (error: NodeJS.ErrnoException) => {
    // Once the answer has begun, as when a watch is cut, the reader of the body gets the error.
    const isClosed = error.code === 'ECONNRESET' || error.code === 'EPIPE'
    const wasGivenUp = !answered && request.reusedSocket && isClosed
    if (wasGivenUp && (options.method ?? 'GET') === 'GET') resolve(open(url, options))
    else reject(error)
  })
  request.end(body)
  return promise
}
