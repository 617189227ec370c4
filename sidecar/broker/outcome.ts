/** What an answer of the broker to `/v1/credentials` means for this pod. */
import { isProblemCode, PROBLEMS } from '../../common/protocol.ts'
import { type Credentials, parseCredentials } from '../credentials/credentials.ts'
import type { Reply } from './client.ts'

export type Outcome =
  | { readonly kind: 'credentials'; readonly credentials: Credentials }
  /** Definitive: this pod has no role. */
  | { readonly kind: 'none'; readonly code: string; readonly detail: string }
  /** Definitive until a person changes something. */
  | {
      readonly kind: 'refused'
      readonly code: string
      readonly detail: string
      readonly retryAfter: number | undefined
    }
  /** Passes by itself. */
  | {
      readonly kind: 'retry'
      readonly code: string
      readonly detail: string
      readonly retryAfter: number | undefined
    }

/** Longest sentence taken over from an answer. */
const MAX_DETAIL = 1000

/**
 * Judges a reply. Whatever is not understood is a `retry`: a broker newer than this sidecar may know more codes.
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
  if (!isProblemCode(code)) {
    const sentence = `The broker answered with status ${reply.status} and no code this version knows. Remedy: look at the log of the broker on this node.`
    return { kind: 'retry', code: 'broker-answer-invalid', detail: sentence, retryAfter }
  }
  const { meaning } = PROBLEMS[code]
  const sentence = detail ?? `The broker answered ${code}.`
  return meaning === 'none'
    ? { kind: 'none', code, detail: sentence }
    : { kind: meaning, code, detail: sentence, retryAfter }
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

/** `Retry-After` (RFC 9110 section 10.2.3) in milliseconds: seconds or a date. */
export function parseRetryAfter(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}
