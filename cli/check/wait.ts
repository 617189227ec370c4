import { setTimeout as wait } from 'node:timers/promises'
import type { CheckResult } from './command.ts'

export type WaitOptions = {
  readonly check: () => Promise<CheckResult>
  /** In total, milliseconds. */
  readonly timeoutMs: number
  readonly intervalMs: number
  /** Called with what it is still waiting for. */
  readonly progress: (text: string) => void
  /** Milliseconds, monotonic. */
  readonly clock: () => number
}

/** Checks until pod2iam is installed and nothing is wrong, or the time is up; resolves with the last result. */
export async function waitUntilHealthy({
  check,
  timeoutMs,
  intervalMs,
  progress,
  clock,
}: WaitOptions): Promise<CheckResult> {
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
