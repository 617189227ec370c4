import { isIPv6, SocketAddress } from 'node:net'
import type { PodRecord } from '../cluster/pod.ts'

/** How long the kubelet may take to report a pod's addresses (kubernetes#39113: minutes). */
const YOUNG_MS = 5 * 60_000

/** `unknown` (no address reported) and `mismatch` deserve a live read before they count. */
export type PeerJudgement = 'match' | 'mismatch' | 'unknown'

/** Step 5: whether a request comes from an address of the pod. Defence in depth: the token is the identity. */
export function judgePeer(pod: PodRecord, peer: string | undefined): PeerJudgement {
  if (pod.podIPs.length === 0) return 'unknown'
  if (peer === undefined) return 'mismatch'
  const canonical = canonicalAddress(peer)
  return pod.podIPs.some((ip) => canonicalAddress(ip) === canonical) ? 'match' : 'mismatch'
}

/** Whether a pod without reported address is so young that the kubelet may not have got round to it. */
export function isYoung(pod: PodRecord, now: number): boolean {
  const age = now - pod.createdAt
  return age >= -YOUNG_MS && age < YOUNG_MS
}

/** One spelling per address: no zone, no IPv4-mapped form, IPv6 compressed as RFC 5952 says. */
export function canonicalAddress(address: string): string {
  const bare = address.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '')
  return isIPv6(bare) ? new SocketAddress({ address: bare, family: 'ipv6' }).address : bare
}
