/**
 * Warm-up: credentials of starting pods are fetched before their sidecars request them, if they would be granted now. None are handed out
 * by this: every step is repeated when the sidecar asks.
 */
import { annotatedIdentity, sameIdentity } from '../../../common/identity.ts'
import { Problem } from '../../../common/protocol.ts'
import type { Authorizer } from '../authorize/authorize.ts'
import type { PodRecord } from '../kubernetes/pod.ts'
import type { Pods } from '../kubernetes/pods.ts'
import { type AccountId, isOfAccount } from '../kubernetes/service-accounts.ts'
import { grantOf } from './entries.ts'
import type { Sessions } from './sessions.ts'

export type WarmUp = ReturnType<typeof warmUp>

/** @param deps `entitlement` decides as it does for a request */
export function warmUp(deps: {
  readonly pods: Pick<Pods, 'all'>
  readonly entitlement: Authorizer['entitlement']
  readonly sessions: Pick<Sessions, 'warm'>
  readonly roleKey: string
  /** Reads what `entitlement` needs to know about a pod; once that is known, `account` is called. */
  readonly load?: ((pod: PodRecord) => void) | undefined
}) {
  const { pods, entitlement, sessions, roleKey, load } = deps
  const consider = (pod: PodRecord) => {
    if (!isStarting(pod, roleKey)) return
    try {
      sessions.warm(grantOf(pod, entitlement(pod)))
    } catch (error) {
      // The pod's sidecar gets this problem as its answer when it asks.
      if (!(error instanceof Problem)) throw error
      // Not for a pod that is refused anyway: otherwise pods of any namespace could cause reads of accounts.
      if (error.code === 'busy') load?.(pod)
    }
  }
  return {
    /** A pod is new or has changed. */
    pod: consider,
    /** The policy of a namespace has changed. */
    namespace: (name: string) => {
      for (const pod of pods.all()) if (pod.namespace === name) consider(pod)
    },
    /** A service account was read and has changed. */
    account: (account: AccountId) => {
      for (const pod of pods.all()) if (isOfAccount(pod, account)) consider(pod)
    },
    /** Something on which all decisions depend has become known. */
    all: () => {
      for (const pod of pods.all()) consider(pod)
    },
  }
}

/**
 * Whether the pod's sidecar is about to ask. The phase Pending alone would not do: anybody who may create pods can bind thousands to a node.
 * The kubelet writes the node's address into the status of those it admits, as many as the node holds, before it makes their
 * sandbox (pkg/kubelet, `syncPod` and `generateAPIPodStatus`), which takes longer than STS.
 */
function isStarting(pod: PodRecord, roleKey: string): boolean {
  const { identity } = pod
  return (
    pod.phase === 'Pending' &&
    pod.hostIPs.length > 0 &&
    !pod.terminating &&
    !pod.hostNetwork &&
    identity !== undefined &&
    sameIdentity(identity, annotatedIdentity(pod.annotations, roleKey, identity))
  )
}
