import { systemClock } from '../../../common/clock.ts'
import type { Exec } from './exec.ts'

/** An {@link Exec} whose commands share one deadline, so that the caller does not wait for a crowded or busy node. */
export function withDeadline(milliseconds: number, exec: Exec, now = systemClock.monotonic): Exec {
  const end = now() + milliseconds
  return async (command, args, options) => {
    const left = Math.min(end - now(), options?.timeoutMs ?? milliseconds)
    const late = { code: 'timeout', stdout: '', stderr: 'it took too long' } as const
    if (left <= 0) return late
    const result = await exec(command, args, { ...options, timeoutMs: left })
    return result.code === 'timeout' ? late : result
  }
}
