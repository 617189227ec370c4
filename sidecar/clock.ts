/** Time, passed in so that tests can turn it. */
export type Clock = {
  /** Wall clock, milliseconds since 1970: what documents are dated with. It may jump. */
  readonly wall: () => number
  /** Milliseconds since some start, never jumping; stands still while the machine is suspended. */
  readonly monotonic: () => number
  /** Calls back after some milliseconds; the returned function cancels. */
  readonly timer: (callback: () => void, milliseconds: number) => () => void
}

export const systemClock: Clock = {
  wall: Date.now,
  // Not performance.now(): its module costs 3 ms of every pod's start (README.md).
  monotonic: () => {
    const [seconds, nanoseconds] = process.hrtime()
    return seconds * 1000 + nanoseconds / 1e6
  },
  timer: (callback, milliseconds) => {
    const timeout = setTimeout(callback, milliseconds)
    return () => clearTimeout(timeout)
  },
}
