/** The only place that writes a verdict in the format of the API server. */
import { API_VERSION } from './review.ts'
import type { Refuses, Verdict } from './verdict.ts'

export type ReviewAnswer = {
  readonly apiVersion: string
  readonly kind: 'AdmissionReview'
  readonly response: {
    readonly uid: string
    readonly allowed: boolean
    /** Its message is what `kubectl` and the ReplicaSet's FailedCreate event show. */
    readonly status?: { readonly code: number; readonly reason: string; readonly message: string }
    readonly patchType?: 'JSONPatch'
    /** Base64 of the JSON Patch. */
    readonly patch?: string
    readonly warnings?: readonly string[]
    readonly auditAnnotations: Readonly<Record<string, string>>
  }
}

/** Our messages are shorter; a longer one quotes input from outside. */
const MAX_MESSAGE = 4096
const MAX_WARNINGS = 10
/** Some clients cut a warning at 256 characters, and all of them at 4096. */
const MAX_WARNING = 400

/** The AdmissionReview that answers the review with this uid. */
export function reviewAnswer(uid: string, verdict: Verdict): ReviewAnswer {
  return { apiVersion: API_VERSION, kind: 'AdmissionReview', response: { uid, ...responseTo(verdict) } }
}

function responseTo(verdict: Verdict): Omit<ReviewAnswer['response'], 'uid'> {
  const audit = { decision: verdict.kind, reason: verdict.reason }
  if ('sentence' in verdict) {
    const message = `pod2iam: ${verdict.sentence}`.slice(0, MAX_MESSAGE)
    return { allowed: false, status: { ...statusOf(verdict), message }, auditAnnotations: audit }
  }
  const warnings = verdict.warnings.length > 0 ? { warnings: bounded(verdict.warnings) } : {}
  if (verdict.kind !== 'patch') return { allowed: true, ...warnings, auditAnnotations: audit }
  const { ops, role, redirect } = verdict
  const patch =
    ops.length > 0
      ? ({ patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(ops)).toString('base64') } as const)
      : {}
  return { allowed: true, ...patch, ...warnings, auditAnnotations: { ...audit, role, redirect } }
}

function statusOf({ kind, reason }: Refuses<'deny' | 'error'>) {
  if (kind === 'deny') return { code: 403, reason: 'Forbidden' }
  return reason === 'namespace-lookup-failed' || reason === 'service-account-lookup-failed'
    ? { code: 503, reason: 'ServiceUnavailable' }
    : { code: 500, reason: 'InternalError' }
}

function bounded(warnings: readonly string[]): string[] {
  return warnings.slice(0, MAX_WARNINGS).map((warning) => {
    const text = `pod2iam: ${warning}`
    return text.length > MAX_WARNING ? `${text.slice(0, MAX_WARNING - 1)}…` : text
  })
}
