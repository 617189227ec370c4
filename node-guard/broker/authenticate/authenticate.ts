/**
 * Who is asking, and may they: the seven steps of the design, in their order, on every request. Nothing here is cached.
 *
 * 1 signature, issuer, audience, times · 2 claims of a pod · 3 the pod is here and carries our sidecar · 4 its identity is
 * unchanged · 5 it asks from its own address · 6 its namespace allows the role now · 7 the node is guarded
 */

import type { Clock } from '../../../common/clock.ts'
import { Problem } from '../../../common/protocol.ts'
import {
  checkNamespace,
  type Entitlement,
  type EntitlementSettings,
  entitle,
  type NodeRoles,
} from '../authorize/entitle.ts'
import type { LiveReader } from '../kubernetes/live.ts'
import { liveReads } from '../kubernetes/live-reads.ts'
import type { NamespaceRecord, Namespaces } from '../kubernetes/namespaces.ts'
import { type PodRecord, podName } from '../kubernetes/pod.ts'
import type { Pods } from '../kubernetes/pods.ts'
import type { Caller } from '../server/app.ts'
import type { PodClaims } from './claims.ts'
import { checkIdentity, checkNode, checkPod } from './identify.ts'
import { isOthers, isYoung, judgePeer } from './peer.ts'
import type { VerifyToken } from './verify.ts'

export type Who = {
  /** Steps 1 to 5. @throws {Problem} */
  readonly identify: (caller: Caller) => Promise<PodRecord>
  /** The pod's namespace, opted in. @throws {Problem} `namespace-not-enabled` */
  readonly namespaceOf: (pod: PodRecord) => Promise<NamespaceRecord>
  /** Step 6, from what the watches know. @throws {Problem} */
  readonly entitlement: (pod: PodRecord, namespace: NamespaceRecord | undefined) => Entitlement
  /** Step 7. @throws {Problem} `node-unguarded` */
  readonly checkGuarded: () => Promise<void>
}

export type WhoOptions = {
  readonly verify: VerifyToken
  readonly pods: Pods
  readonly namespaces: Namespaces
  readonly live: LiveReader
  readonly clock: Clock
  readonly settings: EntitlementSettings & { readonly roleKey: string; readonly requireFirewall: boolean }
  /** Addresses the broker listens on: no pod asks from them. */
  readonly ownAddresses: readonly string[]
  /** The node's roles. @throws {Problem} `node-credentials-unavailable` while they are not known */
  readonly node: () => NodeRoles
  /** Why the node is not guarded, or undefined when it is. */
  readonly whyUnguarded: () => Promise<string | undefined>
  /** Told of a known pod that is refused in steps 3 to 5. */
  readonly onRefused: (pod: PodRecord, problem: Problem) => void
  /** Told of a request that could not be tied to a pod. */
  readonly onRejected: (peer: string | undefined, problem: Problem) => void
}

export function whoIsAsking(options: WhoOptions): Who {
  const { verify, pods, namespaces, live, clock, settings } = options
  const { nodeName, roleKey } = settings
  const reads = liveReads({ pods, namespaces, live, clock, nodeName, roleKey })
  const unknown = (claims: PodClaims) =>
    new Problem(
      'pod-unknown',
      `there is no pod ${claims.namespace}/${claims.podName} with the token’s uid on node ${nodeName} (any more)`,
    )
  const checkAll = (pod: PodRecord, claims: PodClaims) => {
    checkPod(pod, claims, nodeName)
    checkIdentity(pod, roleKey)
  }

  /** Step 5, for a pod that passed the steps before; returns it as it is now. */
  const checkPeer = async (
    seen: PodRecord,
    isFresh: boolean,
    claims: PodClaims,
    peer: string | undefined,
  ) => {
    if (judgePeer(seen, peer) === 'match') return seen
    // The watch may lag, also behind a pod whose sandbox was made anew and has another address.
    const pod = isFresh ? seen : await reads.pod(claims)
    if (!pod) throw unknown(claims)
    checkAll(pod, claims)
    const judgement = judgePeer(pod, peer)
    const others = { pods: pods.all(), own: options.ownAddresses }
    if (judgement === 'mismatch' || (judgement === 'unknown' && peer && isOthers(peer, pod, others)))
      throw new Problem(
        'peer-address-mismatch',
        `the request comes from ${peer ?? 'nowhere'}, which is not an address of pod ${podName(pod)}`,
      )
    if (judgement === 'unknown' && !isYoung(pod, clock.now()))
      throw new Problem(
        'pod-address-unknown',
        `the kubelet has reported no address of pod ${podName(pod)} since it was created; check the kubelet`,
        { retryAfter: 5 },
      )
    return pod
  }

  const identify = async ({ authorization, peer }: Caller): Promise<PodRecord> => {
    let pod: PodRecord | undefined
    try {
      const claims = await verify(authorization)
      checkNode(claims, nodeName)
      const seen = pods.get(claims.podUid)
      pod = seen ?? (await reads.pod(claims))
      if (!pod) throw unknown(claims)
      checkAll(pod, claims)
      return await checkPeer(pod, seen === undefined, claims, peer)
    } catch (error) {
      if (error instanceof Problem) {
        if (pod) options.onRefused(pod, error)
        else options.onRejected(peer, error)
      }
      throw error
    }
  }

  return {
    identify,
    namespaceOf: async (pod) => {
      const known = namespaces.get(pod.namespace)
      if (known?.injection) return known
      return checkNamespace(pod.namespace, await reads.namespace(pod.namespace))
    },
    entitlement: (pod, namespace) => entitle(pod, namespace, options.node(), settings),
    checkGuarded: async () => {
      const why = settings.requireFirewall ? await options.whyUnguarded() : undefined
      if (why)
        throw new Problem('node-unguarded', `node ${nodeName} is not guarded: ${why}`, { retryAfter: 5 })
    },
  }
}
