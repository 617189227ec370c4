/**
 * Warm-up: credentials of pods that are starting are fetched before their sidecars ask. Only what would be granted to a request
 * now, and nothing is handed out by it: every step is taken again when the sidecar asks.
 */
import { identityOfAnnotations, sameIdentity } from '../../../common/identity.ts'
import { Problem } from '../../../common/protocol.ts'
import type { Who } from '../authenticate/authenticate.ts'
import type { Namespaces } from '../kubernetes/namespaces.ts'
import type { PodRecord } from '../kubernetes/pod.ts'
import type { Pods } from '../kubernetes/pods.ts'
import type { Sessions } from './sessions.ts'

export type WarmUp = {
  /** A pod is new or has changed. */
  readonly pod: (pod: PodRecord) => void
  /** The policy of a namespace has changed. */
  readonly namespace: (name: string) => void
  /** What every decision needs is known from now on. */
  readonly all: () => void
}

/** @param by `entitlement` decides as it does for a request */
export function warmUp(by: {
  readonly pods: Pick<Pods, 'all'>
  readonly namespaces: Pick<Namespaces, 'get'>
  readonly entitlement: Who['entitlement']
  readonly sessions: Pick<Sessions, 'warm'>
  readonly roleKey: string
}): WarmUp {
  const { pods, namespaces, entitlement, sessions, roleKey } = by
  const consider = (pod: PodRecord) => {
    if (!isStarting(pod, roleKey)) return
    try {
      const { request } = entitlement(pod, namespaces.get(pod.namespace))
      const { uid, namespace, name } = pod
      sessions.warm({ pod: { uid, namespace, name }, request })
    } catch (error) {
      // It is told when the sidecar asks.
      if (!(error instanceof Problem)) throw error
    }
  }
  return {
    pod: consider,
    namespace: (name) => {
      for (const pod of pods.all()) if (pod.namespace === name) consider(pod)
    },
    all: () => {
      for (const pod of pods.all()) consider(pod)
    },
  }
}

/**
 * Whether the pod's sidecar is about to ask. Pending alone would not do: whoever may create pods can bind thousands to a node.
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
    sameIdentity(identity, identityOfAnnotations(pod.annotations, roleKey))
  )
}
