/** Reads and answers HTTP requests of the API. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { parse as parseYaml } from 'yaml'
import { ApiError, badRequest, failure, type Status } from '../objects/status.ts'

/** The same as the real server's limit for resource requests. */
const BODY_LIMIT = 3 * 1024 * 1024

async function readBytes(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    size += chunk.length
    if (size > BODY_LIMIT)
      throw failure(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${BODY_LIMIT}`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

export function mediaType(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? 'application/json').split(';')[0]?.trim().toLowerCase() ?? ''
}

export function unsupportedMediaType(accepted: readonly string[]): ApiError {
  return failure(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
  )
}

/**
 * The parsed body; undefined when it is empty.
 *
 * @throws ApiError 400 for what is no JSON, 413, 415
 */
export async function readBody(request: IncomingMessage, accepted: readonly string[]): Promise<unknown> {
  const type = mediaType(request)
  const bytes = await readBytes(request)
  if (bytes.length === 0) return undefined
  if (!accepted.includes(type)) throw unsupportedMediaType(accepted)
  const text = bytes.toString('utf8')
  try {
    return type === 'application/yaml' ? parseYaml(text) : JSON.parse(text)
  } catch (error) {
    throw badRequest(
      `couldn't get version/kind; json parse error: ${error instanceof Error ? error.message : error}`,
    )
  }
}

/** `Warning: 299 - "text"` (RFC 7234 5.5, as the API server writes it). */
export function warningHeader(text: string): string {
  const line = text
    .replace(/[\r\n\t]+/g, ' ')
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
  // Header values are Latin-1; the real server writes UTF-8 bytes.
  return `299 - "${Buffer.from(line, 'utf8').toString('latin1')}"`
}

export function send(
  response: ServerResponse,
  code: number,
  body: unknown,
  contentType = 'application/json',
): void {
  if (response.headersSent || response.destroyed) return
  // As bytes, because Node writes headers as Latin-1 only if the body is no string.
  const bytes = Buffer.from(typeof body === 'string' ? body : `${JSON.stringify(body)}\n`)
  response.writeHead(code, {
    'content-type': contentType,
    'content-length': bytes.length,
    'cache-control': contentType.includes('jwk-set') ? 'public, max-age=3600' : 'no-cache, private',
  })
  response.end(bytes)
}

/** Any error as a Status; an error that is no ApiError is a fault of the sandbox, and its message says so. */
export function statusOf(error: unknown): Status {
  if (error instanceof ApiError) return error.status
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return failure(500, 'InternalError', `the sandbox's API server failed: ${text}`).status
}
