/** Time, passed in so that tests can control it. */
export type Clock = {
  /** Wall clock, milliseconds since 1970. It may jump. */
  readonly now: () => number
  /** Runs `action` once after `milliseconds`; the returned function cancels it. Never keeps the process alive. */
  readonly after: (milliseconds: number, action: () => void) => () => void
}

/** A clock that also measures elapsed time, independent of changes to the wall clock. */
export type SteadyClock = Clock & {
  /** Milliseconds since some start. It never jumps, and stops while the machine is suspended. */
  readonly monotonic: () => number
}

/** Longest delay of a Node timer; more would fire at once. */
const MAX_DELAY = 2 ** 31 - 1

export const systemClock: SteadyClock = {
  now: Date.now,
  // Not performance.now(): its module costs 3 ms of every pod's start (sidecar/README.md).
  monotonic: () => {
    const [seconds, nanoseconds] = process.hrtime()
    return seconds * 1000 + nanoseconds / 1e6
  },
  after: (milliseconds, action) => {
    const timer = setTimeout(action, Math.min(Math.max(0, milliseconds), MAX_DELAY)).unref()
    return () => clearTimeout(timer)
  },
}

/** Resolves after `milliseconds`, or at once when `signal` is aborted. */
export function pause(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve()
  const { promise, resolve } = Promise.withResolvers<void>()
  const done = () => resolve()
  const cancel = clock.after(milliseconds, done)
  signal?.addEventListener('abort', done)
  return promise.finally(() => {
    cancel()
    signal?.removeEventListener('abort', done)
  })
}

/** Runs `action` each time after `milliseconds`, until `signal` aborts. */
export function every(clock: Clock, milliseconds: number, signal: AbortSignal, action: () => void): void {
  clock.after(milliseconds, () => {
    if (signal.aborted) return
    action()
    every(clock, milliseconds, signal, action)
  })
}

/** The result of `work`, or a rejection with `late()` after so long; the work itself goes on. */
export async function withTimeout<T>(
  clock: Clock,
  work: Promise<T>,
  milliseconds: number,
  late: () => Error,
): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const cancel = clock.after(milliseconds, () => reject(late()))
  return Promise.race([work, promise]).finally(cancel)
}
