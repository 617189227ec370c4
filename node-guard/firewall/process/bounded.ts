import type { Exec } from './exec.ts'

/** What a program may have of memory that reads what others made; bytes of address space, of which it has 6 MB itself. */
const ADDRESS_SPACE = 16 * 1024 * 1024
const TIMEOUT_MS = 5000

/**
 * Runs programs that look at what others made on this node: whatever its size, they stay small and end within seconds. Too
 * big is a failure like any other: see `isTooBig`.
 */
export function bounded(exec: Exec): Exec {
  return (command, args, options) =>
    exec('prlimit', [`--as=${ADDRESS_SPACE}`, '--', command, ...args], { timeoutMs: TIMEOUT_MS, ...options })
}
