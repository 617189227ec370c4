/** Answers in EC2's shape: always a `Server`, a `Content-Type` and a `Content-Length`. */
import type { Context } from 'hono'
import type { Refusal } from '../health/refusals.ts'
import { errorPage, SERVER } from './pages.ts'

type ErrorStatus = 400 | 401 | 403 | 404 | 414 | 500 | 503

/**
 * A 200; `text/plain` for everything, JSON documents included.
 *
 * @param modified when the content came about, wall clock in milliseconds
 */
export function success(c: Context, body: string, modified?: number): Response {
  c.header('Accept-Ranges', 'none')
  if (modified !== undefined) c.header('Last-Modified', new Date(modified).toUTCString())
  return respond(c, 200, 'text/plain', body)
}

/** An error with EC2's XHTML body. */
export function failure(c: Context, status: ErrorStatus): Response {
  return respond(c, status, 'text/html', errorPage(status))
}

/** A {@link failure} for the form of the request, whose reason goes into metrics and log. */
export function refuse(c: Context, refusal: Refusal, status: ErrorStatus): Response {
  c.set('refusal', refusal)
  return failure(c, status)
}

/** A status without a body, as EC2 answers on the token path and to wrong methods. */
export function bare(
  c: Context,
  status: 200 | 403 | 405,
  { allow, refusal }: { readonly allow?: string; readonly refusal?: Refusal },
): Response {
  if (allow !== undefined) c.header('Allow', allow)
  if (refusal !== undefined) c.set('refusal', refusal)
  return respond(c, status, 'text/plain', '')
}

function respond(c: Context, status: ErrorStatus | 200 | 405, type: string, body: string): Response {
  c.header('Server', SERVER)
  c.header('Content-Type', type)
  c.header('Content-Length', String(Buffer.byteLength(body)))
  return c.body(body, status)
}
