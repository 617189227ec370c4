import { setTimeout as wait } from 'node:timers/promises'
import type { Outcome } from '../outcome.ts'

export type Watching = {
  readonly look: () => Promise<Outcome>
  /** Milliseconds between the end of one look and the next. */
  readonly intervalMs: number
  readonly signal: AbortSignal
  /** Told of what differs from what was shown before. */
  readonly show: (outcome: Outcome) => void
}

/** Looks again and again until the signal; resolves with what was seen last. */
export async function watch({ look, intervalMs, signal, show }: Watching): Promise<Outcome | undefined> {
  let last: Outcome | undefined
  let shown = ''
  while (!signal.aborted) {
    last = await look()
    const now = JSON.stringify(last.data)
    if (now !== shown) show(last)
    shown = now
    // An abort ends the wait, and the loop.
    await wait(intervalMs, undefined, { signal }).catch(() => undefined)
  }
  return last
}
