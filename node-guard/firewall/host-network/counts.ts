import { BoundedMap } from '../../../common/bounded-map.ts'
import type { HostPod } from '../../../common/host-pods.ts'
import { OTHER_COUNTER } from '../rules/host-network.ts'
import type { HostSighting } from '../status/status.ts'

/** Pods that are remembered, also when they are gone. */
const MAX_PODS = 512

type Seen = { pod: HostPod; last: number; total: number; at: number }

/** @returns the name of the named counter of a pod */
export const counterOf = (uid: string) => `host_${uid.replaceAll('-', '_')}`

/**
 * Adds up packets by pod. The kernel's counters survive loads and restarts, until the table is created anew.
 *
 * @param now milliseconds
 */
export function createHostCounts(now: () => number) {
  const byUid = new BoundedMap<string, Seen>(MAX_PODS)
  const other = { last: 0, total: 0 }
  const add = (seen: { last: number; total: number }, packets: number) => {
    const more = packets >= seen.last ? packets - seen.last : packets
    seen.last = packets
    seen.total += more
    return more > 0
  }
  return {
    /** Takes a reading of the counters; `pods` are those that have one. */
    take: (packets: Readonly<Record<string, number>>, pods: readonly HostPod[]) => {
      add(other, packets[OTHER_COUNTER] ?? 0)
      for (const pod of pods) {
        const seen = byUid.get(pod.uid) ?? { pod, last: 0, total: 0, at: 0 }
        seen.pod = pod
        const grew = add(seen, packets[counterOf(pod.uid)] ?? 0)
        if (grew) seen.at = now()
        // A pod whose count grew becomes the newest entry, so that silent pods are forgotten first.
        if (grew || !byUid.has(pod.uid)) byUid.set(pod.uid, seen)
      }
    },
    /** Packets of pods without a rule of their own. */
    other: () => other.total,
    /** Packets of the pods that may use the node's role, or of those that may not. */
    packets: (allowed: boolean) =>
      [...byUid.values()]
        .filter(({ pod }) => pod.allowed === allowed)
        .reduce((sum, { total }) => sum + total, 0),
    /** The most recent first. */
    list: (): HostSighting[] =>
      [...byUid.values()]
        .filter(({ total }) => total > 0)
        .sort((a, b) => b.at - a.at)
        .map(({ pod: { namespace, name, allowed }, total, at }) => ({
          ...{ namespace, name, allowed },
          packets: total,
          lastSeen: new Date(at).toISOString(),
        })),
  }
}
