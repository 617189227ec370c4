/**
 * Warm-up: credentials of pods that are starting are fetched before their sidecars ask. Only what would be granted to a request
 * now, and nothing is handed out by it: every step is taken again when the sidecar asks.
 */
import { sameIdentity, statedIdentity } from '../../../common/identity.ts'
import { Problem } from '../../../common/protocol.ts'
import type { Authorizer } from '../authorize/authorize.ts'
import type { PodRecord } from '../kubernetes/pod.ts'
import type { Pods } from '../kubernetes/pods.ts'
import { isOfAccount, type Owner } from '../kubernetes/service-accounts.ts'
import { grantOf } from './entries.ts'
import type { Sessions } from './sessions.ts'

export type WarmUp = {
  /** A pod is new or has changed. */
  readonly pod: (pod: PodRecord) => void
  /** The policy of a namespace has changed. */
  readonly namespace: (name: string) => void
  /** A service account was read and has changed. */
  readonly account: (account: Owner) => void
  /** What every decision needs is known from now on. */
  readonly all: () => void
}

/** @param deps `entitlement` decides as it does for a request */
export function warmUp(deps: {
  readonly pods: Pick<Pods, 'all'>
  readonly entitlement: Authorizer['entitlement']
  readonly sessions: Pick<Sessions, 'warm'>
  readonly roleKey: string
  /** Reads what `entitlement` needs to know of a pod; when that is known, its account counts as changed. */
  readonly learn?: ((pod: PodRecord) => void) | undefined
}): WarmUp {
  const { pods, entitlement, sessions, roleKey, learn } = deps
  const consider = (pod: PodRecord) => {
    if (!isStarting(pod, roleKey)) return
    try {
      sessions.warm(grantOf(pod, entitlement(pod)))
    } catch (error) {
      // Its sidecar is answered with it when it asks.
      if (!(error instanceof Problem)) throw error
      // Not for a pod that is refused anyway: those of any namespace could have accounts read then.
      if (error.code === 'busy') learn?.(pod)
    }
  }
  return {
    pod: consider,
    namespace: (name) => {
      for (const pod of pods.all()) if (pod.namespace === name) consider(pod)
    },
    account: (account) => {
      for (const pod of pods.all()) if (isOfAccount(pod, account)) consider(pod)
    },
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
    sameIdentity(identity, statedIdentity(pod.annotations, roleKey, identity))
  )
}
