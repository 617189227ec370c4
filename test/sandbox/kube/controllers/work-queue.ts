/** A queue of keys, like client-go's workqueue: one call at a time works on each key, and failures are retried with back-off. */

/** Faster than those of the real controllers (5 ms, doubled up to minutes), so that tests need not wait. */
const FIRST_RETRY_MS = 50
const LAST_RETRY_MS = 2000

export type WorkQueue = {
  add(key: string, delayMs?: number): void
}

/**
 * @param work throws to be called again later
 * @param onError called with every failure
 */
export function createWorkQueue(
  work: (key: string) => Promise<void>,
  onError: (key: string, error: unknown) => void,
): WorkQueue {
  const running = new Set<string>()
  const again = new Set<string>()
  const failures = new Map<string, number>()
  const timers = new Map<string, NodeJS.Timeout>()

  async function run(key: string): Promise<void> {
    if (running.has(key)) {
      again.add(key)
      return
    }
    running.add(key)
    again.delete(key)
    try {
      await work(key)
      failures.delete(key)
    } catch (error) {
      onError(key, error)
      const count = failures.get(key) ?? 0
      failures.set(key, count + 1)
      schedule(key, Math.min(FIRST_RETRY_MS * 2 ** count, LAST_RETRY_MS))
    } finally {
      running.delete(key)
      if (again.delete(key)) schedule(key, 0)
    }
  }

  function schedule(key: string, delayMs: number): void {
    clearTimeout(timers.get(key))
    timers.set(
      key,
      setTimeout(() => {
        timers.delete(key)
        void run(key)
      }, delayMs),
    )
  }

  return {
    add(key, delayMs = 0) {
      // A key that waits after a failure is not retried earlier because of changes, many of which are made to its own status.
      if (timers.has(key) && (failures.get(key) ?? 0) > 0) return
      schedule(key, delayMs)
    },
  }
}
