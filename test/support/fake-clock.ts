import { setImmediate } from 'node:timers/promises'
import { type Clock, type SteadyClock, systemClock } from '../../common/clock.ts'

/** A clock that stands still until a test moves it. */
export type FakeClock = SteadyClock & {
  /** Advances the clock, runs the timers that fall due in order, and lets promises settle after each. */
  readonly advance: (milliseconds: number) => Promise<void>
  /** Advances the clock and runs the timers that fall due in order, before any promise settles. */
  readonly advanceSync: (milliseconds: number) => void
  /** Changes only the wall clock, by milliseconds, as NTP does: no timer falls due sooner or later. */
  readonly set: (milliseconds: number) => void
  /** The number of timers that wait. */
  readonly pending: () => number
  /** Milliseconds until the next timer is due; infinite without one. */
  readonly next: () => number
}

export function fakeClock(start = Date.UTC(2026, 0, 1)): FakeClock {
  let now = start
  let offset = 0
  let order = 0
  const timers = new Map<number, { readonly at: number; readonly action: () => void }>()
  const dueBy = (end: number) =>
    [...timers]
      .filter(([, { at }]) => at <= end)
      .sort(([a, x], [b, y]) => x.at - y.at || a - b)
      .at(0)
  /** Runs the timer that is due first by `end`. @returns whether there was one */
  const runNext = (end: number) => {
    const due = dueBy(end)
    if (due === undefined) return false
    const [id, { at, action }] = due
    timers.delete(id)
    now = Math.max(now, at)
    action()
    return true
  }
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
      const end = now + milliseconds
      await setImmediate()
      while (runNext(end)) await setImmediate()
      now = end
    },
    advanceSync: (milliseconds) => {
      const end = now + milliseconds
      while (runNext(end));
      now = end
    },
    pending: () => timers.size,
    next: () => Math.min(...[...timers.values()].map(({ at }) => at)) - now,
  }
}

/** The machine's clock, with timers that fire `times` as early: for code that waits long and depends on other processes. */
export function fastClock(times: number): Clock {
  return {
    now: systemClock.now,
    after: (milliseconds, action) => systemClock.after(milliseconds / times, action),
  }
}
