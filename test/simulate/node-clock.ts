/** A node's clock: its wall can be set, its timers run on as they do on a machine. */
import type { SteadyClock } from '../../common/clock.ts'
import type { Clock as SidecarClock } from '../../sidecar/clock.ts'
import type { Time } from './time.ts'

export type NodeClock = {
  readonly broker: SteadyClock
  readonly sidecar: SidecarClock
  /** Sets the wall clock, by milliseconds from what it should be. */
  readonly set: (offset: number) => void
}

export function nodeClock(time: Time): NodeClock {
  const start = time.now()
  let offset = 0
  const wall = () => time.now() + offset
  const monotonic = () => time.now() - start
  return {
    broker: { now: wall, monotonic, after: time.after },
    sidecar: {
      wall,
      monotonic,
      timer: (callback, milliseconds) => time.after(milliseconds, callback),
    },
    set: (milliseconds) => {
      offset = milliseconds
    },
  }
}
