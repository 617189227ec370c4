/** Answers in EC2's shape: always a `Server`, a `Content-Type` and a `Content-Length`. */
import { BoundedMap } from '../../common/bounded-map.ts'
import type { Refusal } from '../health/refusals.ts'
import { errorPage, SERVER } from './pages.ts'

export type Reply = {
  readonly status: 200 | ErrorStatus | 405
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
  /** Why the request was refused for its form, for metrics and log. */
  readonly refusal?: Refusal
}

type ErrorStatus = 400 | 401 | 403 | 404 | 414 | 500 | 503

const RANGES = ['Accept-Ranges', 'none'] as const

/**
 * A 200; `text/plain` for everything, JSON documents included.
 *
 * @param modified when the content was created, wall clock in milliseconds
 */
export function success(body: string, modified?: number): Reply {
  const headers = headersOf('text/plain', body)
  headers.push(RANGES)
  if (modified !== undefined) headers.push(['Last-Modified', httpDate(modified)])
  return { status: 200, headers, body }
}

/** An error with EC2's XHTML body. */
export function failure(status: ErrorStatus): Reply {
  const body = errorPage(status)
  return { status, headers: headersOf('text/html', body), body }
}

/** A {@link failure} for the form of the request, whose reason goes into metrics and log. */
export function refuse(refusal: Refusal, status: ErrorStatus): Reply {
  return { ...failure(status), refusal }
}

/** A status without a body, as EC2 answers on the token path and to wrong methods. */
export function emptyReply(
  status: 200 | 403 | 405,
  { allow, refusal }: { readonly allow?: string; readonly refusal?: Refusal },
): Reply {
  const headers = headersOf('text/plain', '')
  if (allow !== undefined) headers.push(['Allow', allow])
  return { status, headers, body: '', ...(refusal && { refusal }) }
}

/** An answer in JSON, in which SDKs want container credentials and the reasons why there are none. */
export function jsonReply(status: Reply['status'], value: Readonly<Record<string, string>>): Reply {
  const body = JSON.stringify(value)
  return { status, headers: headersOf('application/json', body), body }
}

function headersOf(type: string, body: string): (readonly [string, string])[] {
  return [
    ['Server', SERVER],
    ['Content-Type', type],
    ['Content-Length', String(Buffer.byteLength(body))],
  ]
}

const dates = new BoundedMap<number, string>(2)

/** As HTTP writes it; the same few times are asked for again and again. */
function httpDate(milliseconds: number): string {
  const known = dates.get(milliseconds)
  if (known !== undefined) return known
  const date = new Date(milliseconds).toUTCString()
  dates.set(milliseconds, date)
  return date
}
