/** Time, passed in so that tests can hold it still. */
export type Clock = {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Runs `action` once after `milliseconds`; the returned function cancels it. Never keeps the process alive. */
  readonly after: (milliseconds: number, action: () => void) => () => void
}

/** A clock that also tells how much time has passed, whatever is set meanwhile. */
export type SteadyClock = Clock & {
  /** Milliseconds since some start, never jumping; stands still while the machine is suspended. */
  readonly monotonic: () => number
}

/** Longest delay of a Node timer; more would fire at once. */
const MAX_DELAY = 2 ** 31 - 1

export const systemClock: SteadyClock = {
  now: Date.now,
  monotonic: () => performance.now(),
  after: (milliseconds, action) => {
    const timer = setTimeout(action, Math.min(Math.max(0, milliseconds), MAX_DELAY)).unref()
    return () => clearTimeout(timer)
  },
}

/** Resolves after `milliseconds`, or at once when `signal` is aborted. */
export function pause(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve()
  const { promise, resolve } = Promise.withResolvers<void>()
  const done = () => {
    cancel()
    signal?.removeEventListener('abort', done)
    resolve()
  }
  const cancel = clock.after(milliseconds, done)
  signal?.addEventListener('abort', done)
  return promise
}
