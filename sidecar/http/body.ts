/** Request bodies: counted from the first byte, whether anybody reads them or not. */
import type { IncomingMessage } from 'node:http'

/** The body is longer than the limit: HTTP 413. */
export class BodyTooLarge extends Error {
  constructor(limit: number) {
    super(`the request body is longer than ${limit} bytes`)
    this.name = 'BodyTooLarge'
  }
}

/** Whether a request announces a body. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** Whether the announced length alone is already too long. */
export function announcesTooMuch({ headers }: IncomingMessage, limit: number): boolean {
  return Number(headers['content-length'] ?? 0) > limit
}

/**
 * Starts reading the body and returns a function that waits for it.
 *
 * It starts at once because node:http would discard an unread body without any bound.
 *
 * @param limit longest body, bytes
 * @param onTooLong called once when the body passes the limit; the promise then rejects with {@link BodyTooLarge}
 */
export function bodyReader(
  incoming: IncomingMessage,
  limit: number,
  onTooLong: () => void,
): () => Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  // Nobody may be waiting: a rejection that nobody reads must not end the process.
  promise.catch(() => {})
  const chunks: Buffer[] = []
  let length = 0
  incoming.on('data', (chunk: Buffer) => {
    const within = length <= limit
    length += chunk.length
    if (length <= limit) chunks.push(chunk)
    else if (within) {
      chunks.length = 0
      reject(new BodyTooLarge(limit))
      onTooLong()
    }
  })
  incoming.once('end', () => resolve(Buffer.concat(chunks)))
  incoming.once('error', reject)
  incoming.once('close', () => reject(new Error('the client went away before its body was complete')))
  return () => promise
}
