/** The injector's verdict on an admission review, and what its handlers are given to reach it. */
import type { InjectionSettings } from '../injection-settings.ts'
import type { PatchOp } from '../json-patch.ts'
import type { ServiceAccount } from '../pod/account.ts'
import type { Namespace } from '../pod/namespace.ts'
import type { Reason } from '../reasons.ts'
import type { OwnResources } from '../resources/resources.ts'
import type { RedirectMode } from '../settings.ts'
import type { ReviewRequest } from './review.ts'

type Passes<Kind> = { readonly kind: Kind; readonly reason: Reason; readonly warnings: readonly string[] }
export type Refuses<Kind> = { readonly kind: Kind; readonly reason: Reason; readonly sentence: string }

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
      /** Resources that the sidecar, and the gate if there is one, would get if they were newly added. */
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

/** Provides a handler with the current state of the review's namespace and its service accounts, and with a turn for expensive work. */
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
