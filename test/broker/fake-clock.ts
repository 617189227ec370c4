import { setImmediate } from 'node:timers/promises'
import type { SteadyClock } from '../../common/clock.ts'

/** A clock that stands still until it is told to move. */
export type FakeClock = SteadyClock & {
  /** Moves on, running what falls due in its order, and lets promises settle after each. */
  readonly advance: (milliseconds: number) => Promise<void>
  /** Sets what the time is said to be, by milliseconds, as NTP does: no timer is due sooner or later for that. */
  readonly set: (milliseconds: number) => void
  /** Timers waiting. */
  readonly pending: () => number
}

export function fakeClock(start = Date.UTC(2026, 0, 1)): FakeClock {
  let now = start
  let offset = 0
  let order = 0
  const timers = new Map<number, { readonly at: number; readonly action: () => void }>()
  const next = (until: number) =>
    [...timers]
      .filter(([, { at }]) => at <= until)
      .sort(([a, x], [b, y]) => x.at - y.at || a - b)
      .at(0)
  return {
    now: () => now + offset,
    monotonic: () => now - start,
    set: (milliseconds) => {
      offset += milliseconds
    },
    after: (milliseconds, action) => {
      const id = order++
      timers.set(id, { at: now + Math.max(0, milliseconds), action })
      return () => void timers.delete(id)
    },
    advance: async (milliseconds) => {
      const until = now + milliseconds
      await setImmediate()
      for (let due = next(until); due; due = next(until)) {
        const [id, { at, action }] = due
        timers.delete(id)
        now = Math.max(now, at)
        action()
        await setImmediate()
      }
      now = until
    },
    pending: () => timers.size,
  }
}
