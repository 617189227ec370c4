/** What the pods of a fleet have, every half minute, and what should not have happened to them. */
import type { Fleet } from './fleet.ts'
import type { Node } from './node.ts'
import type { Sidecar } from './pod.ts'
import type { Span } from './span.ts'
import type { Time } from './time.ts'

export const SAMPLE_MS = 30_000
/** Reachable for this long in the second half of a session's life: it could have been renewed. */
const ENOUGH_MS = 3 * 60_000
/** A gap up to this is no neglect: after the clock was set forward everything looks expired until it is fetched anew. */
const GAP_MS = 2 * 60_000

export type Sample = {
  /** Seconds since the scenario's beginning. */
  readonly second: number
  readonly pods: number
  /** Pods that hand out what AWS accepts. */
  readonly valid: number
}

type Known = {
  readonly fleet: Fleet
  readonly time: Time
  readonly base: number
  readonly stsAway: readonly Span[]
  readonly apiAway: readonly Span[]
}

export function sampler(nodes: readonly Node[], { time, base, stsAway }: Known) {
  const samples: Sample[] = []
  const faults = { neglected: new Set<Sidecar>(), stale: new Set<Sidecar>() }
  const expired = new Set<Sidecar>()
  const without = new Map<Sidecar, number>()
  const waits = new Map<Sidecar, number>()

  const look = (sidecar: Sidecar, now: number): boolean => {
    const firstAt = sidecar.firstAt()
    if (firstAt !== undefined && sidecar.startedAt >= base && !waits.has(sidecar))
      waits.set(sidecar, firstAt - sidecar.startedAt)
    const expires = sidecar.handsOut()
    if (expires !== undefined && expires > now) {
      without.delete(sidecar)
      return true
    }
    const last = sidecar.last()
    if (!last) return false
    expired.add(sidecar)
    // Given out although AWS does not take it any more: the node's clock lies.
    if (expires !== undefined) faults.stale.add(sidecar)
    const since = without.get(sidecar) ?? now
    without.set(sidecar, since)
    const isGap = now - since < GAP_MS || sidecar.isTooEarly()
    if (!isGap && couldHaveBeenRenewed(last, Math.min(now, last.expires), stsAway))
      faults.neglected.add(sidecar)
    return false
  }
  const sample = () => {
    const now = time.now()
    let [pods, valid] = [0, 0]
    for (const node of nodes)
      for (const sidecar of node.sidecars()) {
        pods++
        if (look(sidecar, now)) valid++
      }
    samples.push({ second: (now - base) / 1000, pods, valid })
    time.after(SAMPLE_MS, sample)
  }
  time.after(Math.max(0, base - time.now()), sample)
  return {
    result: () => ({
      samples,
      /** Pods whose credentials expired though STS could be reached long enough before. */
      neglected: faults.neglected.size,
      /** Pods that handed out credentials that had expired. */
      stale: faults.stale.size,
      /** Pods whose credentials expired. */
      expired: expired.size,
      /** Milliseconds from a sidecar's start to its first credentials, of those that started in the scenario. */
      waits: [...waits.values()].sort((a, b) => a - b),
    }),
  }
}

/** Whether STS could be reached for long enough between half of the life and the end of what was given at `at`. */
function couldHaveBeenRenewed(
  { at, expires }: { readonly at: number; readonly expires: number },
  until: number,
  away: readonly Span[],
): boolean {
  const from = at + (expires - at) / 2
  const lost = away.reduce(
    (sum, span) => sum + Math.max(0, Math.min(span.to, until) - Math.max(span.from, from)),
    0,
  )
  return until - from - lost >= ENOUGH_MS
}
