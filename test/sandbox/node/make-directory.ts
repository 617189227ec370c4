/** `mkdir -p` that always returns. */
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Creates a directory and its parents. Node's own `recursive` never returns below `/proc/PID` of a process that has
 * ended, which is where a machine's files are once it is closed.
 *
 * @throws ENOENT there
 */
export function makeDirectory(path: string): void {
  if (make(path)) return
  makeDirectory(dirname(path))
  if (!make(path)) mkdirSync(path)
}

/** False when the parent directory is missing. */
function make(path: string): boolean {
  try {
    mkdirSync(path)
    return true
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EEXIST') return true
    if (code === 'ENOENT' && dirname(path) !== path) return false
    throw error
  }
}
