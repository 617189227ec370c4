/**
 * Determines who sent a request. Every request passes seven steps in order, and nothing here is cached:
 *
 * 1 signature, issuer, audience and times of the token · 2 its claims are those of a pod · 3 the pod is here and carries our
 * sidecar · 4 its identity is unchanged · 5 it asks from its own address. `authorize/authorize.ts` has the rest:
 * 6 its namespace allows the role now · 7 the node is guarded. With a second token `web-identity.ts` comes last: 8 it is the same pod's
 */
import type { Clock } from '../../../common/clock.ts'
import { Problem } from '../../../common/protocol.ts'
import type { LiveReads } from '../kubernetes/live-reads.ts'
import { type PodRecord, podName } from '../kubernetes/pod.ts'
import type { Pods } from '../kubernetes/pods.ts'
import type { PodClaims } from './claims.ts'
import { checkIdentity, checkNode, checkPod } from './identify.ts'
import { belongsToOther, isYoung, judgePeer } from './peer.ts'
import type { VerifyToken } from './verify.ts'

/** What a request contains about its sender. */
export type Caller = {
  readonly authorization: string | undefined
  readonly peer: string | undefined
  /** Value of the header with the web identity token; judged by `web-identity.ts`, once the pod is known. */
  readonly webIdentity?: string | undefined
}

/** Steps 1 to 5: the pod that a request comes from. @throws {Problem} */
export type Authenticate = (caller: Caller) => Promise<PodRecord>

type AuthenticateDeps = {
  readonly verify: VerifyToken
  readonly pods: Pods
  readonly reads: Pick<LiveReads, 'pod'>
  readonly clock: Clock
  readonly nodeName: string
  readonly roleKey: string
  /** Addresses on which the broker listens: no pod sends requests from them. */
  readonly ownAddresses: readonly string[]
  /** Called for a known pod that is refused in steps 3 to 5. */
  readonly onRefused: (pod: PodRecord, problem: Problem) => void
  /** Called for a request that could not be attributed to a pod. */
  readonly onRejected: (peer: string | undefined, problem: Problem) => void
}

export function authenticator(deps: AuthenticateDeps): Authenticate {
  const { verify, pods, reads, clock, nodeName, roleKey } = deps
  const unknown = (claims: PodClaims) =>
    new Problem(
      'pod-unknown',
      `there is no pod ${claims.namespace}/${claims.podName} with the token’s uid on node ${nodeName} (any more)`,
    )
  const checkAll = (pod: PodRecord, claims: PodClaims) => {
    checkPod(pod, claims, nodeName)
    checkIdentity(pod, roleKey)
  }

  /** Step 5, for a pod that passed the previous steps; returns its current state. */
  const checkPeer = async (
    seen: PodRecord,
    isFresh: boolean,
    claims: PodClaims,
    peer: string | undefined,
  ) => {
    if (judgePeer(seen, peer) === 'match') return seen
    // The watch may lag, also for a pod whose sandbox was recreated with another address.
    const pod = isFresh ? seen : await reads.pod(claims)
    if (!pod) throw unknown(claims)
    checkAll(pod, claims)
    const judgement = judgePeer(pod, peer)
    const others = { pods: pods.all(), own: deps.ownAddresses }
    if (judgement === 'mismatch' || (judgement === 'unknown' && peer && belongsToOther(peer, pod, others)))
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

  return async ({ authorization, peer }) => {
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
        if (pod) deps.onRefused(pod, error)
        else deps.onRejected(peer, error)
      }
      throw error
    }
  }
}
