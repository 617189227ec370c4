import { setTimeout as wait } from 'node:timers/promises'
import type { CheckResult } from './command.ts'

export type Waiting = {
  readonly check: () => Promise<CheckResult>
  /** Milliseconds in all. */
  readonly timeoutMs: number
  readonly intervalMs: number
  /** Told what it still waits for. */
  readonly progress: (text: string) => void
  /** Milliseconds, monotonic. */
  readonly clock: () => number
}

/** Checks until pod2iam is there and nothing is wrong, or the time is up; resolves with the last look. */
export async function waitUntilWell({
  check,
  timeoutMs,
  intervalMs,
  progress,
  clock,
}: Waiting): Promise<CheckResult> {
  const end = clock() + timeoutMs
  for (;;) {
    const result = await check()
    const first = result.items.find(({ state }) => state === 'failed')
    if (first === undefined && result.isInstalled) return result
    if (clock() >= end) return result
    progress(first === undefined ? 'pod2iam is not installed yet' : `${first.title}: ${first.detail}`)
    await wait(intervalMs)
  }
}
