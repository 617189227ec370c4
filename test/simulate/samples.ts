/** The credentials of a fleet's pods, sampled every half minute, and what should not have happened to them. */
import type { Fleet } from './fleet-size.ts'
import type { Node } from './node.ts'
import type { Sidecar } from './pod.ts'
import { outside, type Span } from './span.ts'
import type { Time } from './time.ts'

export const SAMPLE_MS = 30_000
/** If STS was reachable for this long in the second half of a session's life, it could have been renewed. */
const ENOUGH_MS = 3 * 60_000
/** SDKs fetch new credentials minutes before the expiry that they were given, so an error of this size does no harm. */
const EXPIRY_ERROR_MS = 10_000
/** A shorter gap is no neglect: after the clock was set forward, everything looks expired until it is fetched again. */
const GAP_MS = 2 * 60_000

type Sample = {
  /** Seconds since the beginning of the scenario. */
  readonly second: number
  readonly pods: number
  /** Pods that serve credentials which AWS accepts. */
  readonly valid: number
}

type Last = NonNullable<ReturnType<Sidecar['last']>>

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
  /** When pods could not authenticate at their broker, because their tokens were issued in the future. */
  const mute = new Map<Sidecar, Span[]>()

  const noteMute = (sidecar: Sidecar, now: number) => {
    const spans = mute.get(sidecar) ?? []
    const before = spans.at(-1)
    const isOne = before?.to === now - SAMPLE_MS
    mute.set(sidecar, [
      ...(isOne ? spans.slice(0, -1) : spans),
      { from: isOne ? before.from : now - SAMPLE_MS, to: now },
    ])
  }
  /** Whether a pod that has had credentials and has none now could have renewed them. */
  const isNeglected = (sidecar: Sidecar, last: Last, isMute: boolean, now: number): boolean => {
    // While a pod cannot authenticate, it cannot renew either. What counts is the time that it had before that; the gap then
    // begins when it can authenticate again. Its sidecar retries every few seconds; a sample before the next attempt shows no neglect.
    const since = isMute ? now : (without.get(sidecar) ?? now)
    without.set(sidecar, since)
    if (!isMute && now - since < GAP_MS) return false
    const lost = isMute ? [...stsAway, ...(mute.get(sidecar) ?? [])] : stsAway
    return couldHaveBeenRenewed(last, Math.min(now, last.expires), lost)
  }
  const look = (sidecar: Sidecar, now: number): boolean => {
    const firstAt = sidecar.firstAt()
    if (firstAt !== undefined && sidecar.startedAt >= base && !waits.has(sidecar))
      waits.set(sidecar, firstAt - sidecar.startedAt)
    const isMute = sidecar.isTooEarly()
    if (isMute) noteMute(sidecar, now)
    const given = sidecar.handsOut()
    // Served although AWS no longer accepts them, or will not while the application still uses them.
    if (given && (given.expires <= now || given.reportedExpiry > given.expires + EXPIRY_ERROR_MS))
      faults.stale.add(sidecar)
    if (given && given.expires > now) {
      without.delete(sidecar)
      return true
    }
    const last = sidecar.last()
    if (!last) return false
    expired.add(sidecar)
    if (isNeglected(sidecar, last, isMute, now)) faults.neglected.add(sidecar)
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
      /** Pods whose credentials expired although STS could be reached long enough before. */
      neglected: faults.neglected.size,
      /** Pods that served expired credentials, or reported an expiry later than the true one. */
      stale: faults.stale.size,
      /** Pods whose credentials expired. */
      expired: expired.size,
      /** Milliseconds from a sidecar's start to its first credentials, of those that started in the scenario. */
      waits: [...waits.values()].sort((a, b) => a - b),
    }),
  }
}

/** Whether there was enough time to request credentials, and for STS to answer, between half of the life and the expiry of those received at `at`. */
function couldHaveBeenRenewed({ at, expires }: Last, until: number, lost: readonly Span[]): boolean {
  return outside(lost, at + (expires - at) / 2, until) >= ENOUGH_MS
}
