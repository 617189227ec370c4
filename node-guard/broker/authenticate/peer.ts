import { canonicalAddress } from '../../../common/canonical-address.ts'
import { hasEnded, type PodRecord } from '../kubernetes/pod.ts'

/** How long the kubelet may take to report a pod's addresses (kubernetes#39113: minutes). */
const YOUNG_MS = 5 * 60_000

/** Before `unknown` (no address reported) or `mismatch` counts, the pod is read again. */
type PeerJudgement = 'match' | 'mismatch' | 'unknown'

/** Step 5: whether a request comes from an address of the pod. Defence in depth: the token is the identity. */
export function judgePeer(pod: PodRecord, peer: string | undefined): PeerJudgement {
  if (peer === undefined) return 'mismatch'
  if (pod.podIPs.length === 0) return 'unknown'
  const canonical = canonicalAddress(peer)
  return pod.podIPs.some((ip) => canonicalAddress(ip) === canonical) ? 'match' : 'mismatch'
}

/**
 * Whether `peer` is known to be the address of the node, or of another pod that has not ended. A pod
 * whose own address is not reported yet cannot have it.
 *
 * @param own addresses the broker listens on
 */
export function belongsToOther(
  peer: string,
  pod: PodRecord,
  { pods, own }: { readonly pods: Iterable<PodRecord>; readonly own: readonly string[] },
): boolean {
  const canonical = canonicalAddress(peer)
  const among = (ips: readonly string[]) => ips.some((ip) => canonicalAddress(ip) === canonical)
  if (among(own) || among(pod.hostIPs)) return true
  for (const other of pods) {
    if (among(other.hostIPs)) return true
    // The address of a pod that has ended may already be another's, while its status still shows it.
    if (other.uid !== pod.uid && !hasEnded(other) && among(other.podIPs)) return true
  }
  return false
}

/** Whether a pod without reported address is so young that the kubelet may not have reported it yet. */
export function isYoung(pod: PodRecord, now: number): boolean {
  const age = now - pod.createdAt
  return age >= -YOUNG_MS && age < YOUNG_MS
}
