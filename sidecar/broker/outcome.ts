/** Determines what the broker's answers about credentials and about the pod itself mean. */
import { isProblemCode, PROBLEMS } from '../../common/protocol.ts'
import { VERSION } from '../../common/version.ts'
import { type Credentials, parseCredentials } from '../credentials/credentials.ts'
import type { Reply } from './client.ts'

export type Outcome =
  | { readonly kind: 'credentials'; readonly credentials: Credentials }
  /** Definitive: this pod has no role. */
  | { readonly kind: 'none'; readonly code: string; readonly detail: string }
  /** `refused`: definitive until a person changes something. `retry`: passes by itself. */
  | {
      readonly kind: 'refused' | 'retry'
      readonly code: string
      readonly detail: string
      readonly retryAfter: number | undefined
    }

/** Longest sentence taken from an answer, characters. */
const MAX_DETAIL = 1000

/**
 * The outcome of a reply to `GET /v1/credentials`. Whatever is not understood is a `retry`: a broker newer than this sidecar may know more codes.
 *
 * @param now wall clock, milliseconds
 */
export function outcomeOf(reply: Reply, now: number): Outcome {
  if (reply.kind === 'failure')
    return { kind: 'retry', code: reply.code, detail: reply.detail, retryAfter: undefined }
  if (reply.status !== 200) return problemOutcome(reply, now)
  const parsed = parseCredentials(reply.body, now)
  if (parsed.ok) return { kind: 'credentials', credentials: parsed.credentials }
  const detail = `The broker's answer is not valid: ${parsed.detail}. Remedy: look at the log of the broker on this node.`
  return { kind: 'retry', code: 'broker-answer-invalid', detail, retryAfter: undefined }
}

type Answer = Extract<Reply, { kind: 'answer' }>

function problemOutcome(reply: Answer, now: number): Outcome {
  const retryAfter = parseRetryAfter(reply.retryAfter, now)
  const { code, detail } = problemMembers(reply.body)
  if (!isProblemCode(code)) return { kind: 'retry', retryAfter, ...notUnderstood(reply.status, code, detail) }
  const { meaning } = PROBLEMS[code]
  const sentence = detail ?? `The broker answered ${code}.`
  return meaning === 'none'
    ? { kind: 'none', code, detail: sentence }
    : { kind: meaning, code, detail: sentence, retryAfter }
}

/**
 * Explains an answer whose code this release does not know. Every refusal of a broker has a code, except for a path that it does not
 * have: brokers of 0.1.0 answer only 404 there.
 */
function notUnderstood(status: number, code: unknown, detail: string | undefined) {
  if (code === undefined && status === 404)
    return {
      code: 'protocol-not-spoken',
      detail: `The broker of this node does not know what this sidecar (release ${VERSION}) asks for: it is of another release. Remedy: bring the node guard to the release of the sidecar, or create the pod again.`,
    }
  const said =
    typeof code === 'string' && /^[a-z0-9-]{1,64}$/.test(code) && detail !== undefined
      ? `The broker of this node answered ${code}, which this sidecar (release ${VERSION}) does not know: ${detail}`
      : `The broker answered with status ${status} and no code this version knows. Remedy: look at the log of the broker on this node.`
  return { code: 'broker-answer-invalid', detail: said }
}

function problemMembers(body: string): { code: unknown; detail: string | undefined } {
  try {
    const value: unknown = JSON.parse(body)
    if (typeof value !== 'object' || value === null) return { code: undefined, detail: undefined }
    const { code, detail } = value as Record<string, unknown>
    return { code, detail: typeof detail === 'string' ? sentence(detail) : undefined }
  } catch {
    return { code: undefined, detail: undefined }
  }
}

function sentence(text: string): string | undefined {
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ').trim()
  return line === '' ? undefined : line.slice(0, MAX_DETAIL)
}

/**
 * What the broker knows about the pod itself: `leaves`, it is being deleted; `stays`; or `unknown`, because the broker does not
 * answer, does not know the pod, or is of a release without this route.
 */
export type PodState = 'stays' | 'leaves' | 'unknown'

/** Reads the answer to `GET /v1/pod` (`PodBody` of common/protocol.ts). */
export function podStateOf(reply: Reply): PodState {
  if (reply.kind === 'failure' || reply.status !== 200) return 'unknown'
  try {
    const body: unknown = JSON.parse(reply.body)
    if (typeof body !== 'object' || body === null || !('terminating' in body)) return 'unknown'
    return body.terminating === true ? 'leaves' : 'stays'
  } catch {
    return 'unknown'
  }
}

/** `Retry-After` (RFC 9110 section 10.2.3) in milliseconds: seconds or a date. */
function parseRetryAfter(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}
