/** The injector's verdict on an admission review, and the only place that writes it in the format of the API server. */
import type { InjectionSettings } from '../injection-settings.ts'
import type { PatchOp } from '../json-patch.ts'
import type { ServiceAccount } from '../pod/account.ts'
import type { Namespace } from '../pod/namespace.ts'
import type { OwnResources } from '../pod/resources.ts'
import type { Reason } from '../reasons.ts'
import type { RedirectMode } from '../settings.ts'
import { API_VERSION, type ReviewRequest } from './review.ts'

type Passes<Kind> = { readonly kind: Kind; readonly reason: Reason; readonly warnings: readonly string[] }
type Refuses<Kind> = { readonly kind: Kind; readonly reason: Reason; readonly sentence: string }

/** `kind` is the outcome in metrics, logs and audit annotations; `error`: the review could not be judged. */
export type Verdict =
  | Passes<'skip'>
  | Passes<'allow'>
  | Refuses<'deny'>
  | Refuses<'error'>
  | {
      readonly kind: 'patch'
      readonly reason: 'injected' | 'already-injected'
      readonly ops: readonly PatchOp[]
      readonly warnings: readonly string[]
      readonly role: string
      readonly redirect: RedirectMode
      /** Properties of the sidecar, and of the gate if there is one, if they are newly added. */
      readonly resources: OwnResources
    }

/** Something on which a decision depends could not be read. The answer is 503, so that no pod is admitted without being judged. */
export class LookupError extends Error {
  readonly reason: 'namespace-lookup-failed' | 'service-account-lookup-failed'
  constructor(reason: LookupError['reason'], detail: string, cause: unknown) {
    super(detail, { cause })
    this.reason = reason
  }
}

/** What a handler may request: the current state of the review's namespace and its service accounts, and a turn for expensive work. */
export type ReviewContext = {
  readonly lookUpNamespace: () => Promise<Namespace>
  /** A service account of that namespace as it is now. */
  readonly lookUpAccount: (name: string) => Promise<ServiceAccount>
  readonly inTurn: <T>(work: () => T) => Promise<T>
}

/**
 * Judges one review. While it waits, it keeps nothing of the parsed body except the head: a pod is parsed and judged in one
 * turn, so that only one at a time is in memory.
 */
export type Handler = (
  request: ReviewRequest,
  context: ReviewContext,
  settings: InjectionSettings,
) => Promise<Verdict> | Verdict

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
