/** A node's clock: its wall can be set, its timers run on as they do on a machine. */
import type { SteadyClock } from '../../common/clock.ts'
import type { Time } from './time.ts'

export type NodeClock = SteadyClock & {
  /** Sets the wall clock, by milliseconds from what it should be. */
  readonly set: (offset: number) => void
}

export function nodeClock(time: Time): NodeClock {
  const start = time.now()
  let offset = 0
  return {
    now: () => time.now() + offset,
    monotonic: () => time.now() - start,
    after: time.after,
    set: (milliseconds) => {
      offset = milliseconds
    },
  }
}
