/** A node's clock: its wall clock can be set, while its timers continue as on a real machine. */
import type { SteadyClock } from '../../common/clock.ts'
import type { Time } from './time.ts'

export type NodeClock = SteadyClock & {
  /** Sets how many milliseconds the wall clock differs from the true time. */
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
