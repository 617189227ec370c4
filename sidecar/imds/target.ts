/**
 * Request targets: from the request line to the one path that the routes know.
 *
 * EC2 is tolerant and so are we, because SDKs differ: `//latest/…` (Java with an endpoint that ends in
 * a slash), trailing slashes on leaves (botocore's `placement/availability-zone/`), dated versions (cloud-init).
 */
import { VERSIONS } from './versions.ts'

export type Target = {
  /** `/`, or slash-led without a trailing slash, percent-decoded, a dated version replaced by `latest`. */
  readonly path: string
  /** The version as written: `latest`, a date, or undefined at the root and in unknown places. */
  readonly version: string | undefined
  /** It ended in a slash: asks for a listing where there is one. */
  readonly slash: boolean
}

export type TargetResult = { readonly authority: string } & (
  | { readonly ok: true; readonly target: Target }
  | { readonly ok: false; readonly status: 400 | 404 | 414 }
)

/** Longest path and query that is parsed: a role ARN has at most 2048 characters, and percent-encoding triples some. */
export const MAX_TARGET = 4096

const URL_FORM = /^https?:\/\/([^/?#]*)(.*)$/is

/**
 * Parses the URL of a request as the adapter gives it: `http://` + Host + target, or an absolute target as received
 * (RFC 9112 section 3.2), whose authority then stands for the Host header. Nothing has been normalised before.
 *
 * @returns the target, or the status of a refusal: 414 too long, 400 no path, 404 not decodable
 */
export function parseTarget(url: string): TargetResult {
  const [, authority = '', rest = ''] = URL_FORM.exec(url) ?? []
  if (rest.length > MAX_TARGET) return { authority, ok: false, status: 414 }
  const raw = rest.replace(/[?#].*$/s, '')
  if (raw !== '' && !raw.startsWith('/')) return { authority, ok: false, status: 400 }
  const decoded = decode(raw || '/')
  if (decoded === undefined) return { authority, ok: false, status: 404 }
  const collapsed = decoded.replace(/\/{2,}/g, '/')
  const slash = collapsed.endsWith('/')
  const path = slash && collapsed !== '/' ? collapsed.slice(0, -1) : collapsed
  return { authority, ok: true, target: { ...versioned(path), slash } }
}

/** Decodes once, so that a doubly encoded name stays a wrong name; undefined where it hides control characters. */
function decode(raw: string): string | undefined {
  try {
    const text = raw.includes('%') ? decodeURIComponent(raw) : raw
    return /[\u0000-\u001f\u007f]/.test(text) ? undefined : text
  } catch {
    return undefined
  }
}

function versioned(path: string): Pick<Target, 'path' | 'version'> {
  const end = path.indexOf('/', 1)
  const first = end === -1 ? path.slice(1) : path.slice(1, end)
  if (first === 'latest') return { path, version: first }
  if (!VERSIONS.has(first)) return { path, version: undefined }
  return { path: `/latest${end === -1 ? '' : path.slice(end)}`, version: first }
}

/** Whether a path is a directory, written without a slash at its end, or lies in it. */
export function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`)
}
