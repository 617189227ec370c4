import { setTimeout as wait } from 'node:timers/promises'
import type { Outcome } from '../outcome.ts'

export type WatchOptions = {
  readonly look: () => Promise<Outcome>
  /** Milliseconds between the end of one update and the next. */
  readonly intervalMs: number
  readonly signal: AbortSignal
  /** Called with what differs from the previous output. */
  readonly show: (outcome: Outcome) => void
}

/** Repeats until the signal; resolves with the last result. */
export async function watch({ look, intervalMs, signal, show }: WatchOptions): Promise<Outcome | undefined> {
  let last: Outcome | undefined
  let shown = ''
  while (!signal.aborted) {
    last = await look()
    const now = JSON.stringify(last.data)
    if (now !== shown) show(last)
    shown = now
    // An abort ends the wait and the loop.
    await wait(intervalMs, undefined, { signal }).catch(() => undefined)
  }
  return last
}
