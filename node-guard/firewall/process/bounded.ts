import { systemClock } from '../../../common/clock.ts'
import type { Exec } from './exec.ts'

/** Address space, in bytes, of a program that reads what other programs made; it needs 6 MB for itself. */
const MAX_ADDRESS_SPACE = 16 * 1024 * 1024
const TIMEOUT_MS = 5000

/**
 * Runs programs that read what other programs made on this node: however large that is, they stay small and end within
 * seconds. Running out of memory is a failure like any other: see `isTooBig`.
 */
export function bounded(exec: Exec): Exec {
  return (command, args, options) =>
    exec('prlimit', [`--as=${MAX_ADDRESS_SPACE}`, '--', command, ...args], {
      timeoutMs: TIMEOUT_MS,
      ...options,
    })
}

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
