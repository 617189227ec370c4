/** The programs of the cluster as processes. */
import { execFile, spawn } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { logged, type Program } from '../sandbox/real/logged.ts'

const POLL_MS = 100
/** On a crowded machine what takes seconds takes minutes. */
const START_MS = 300_000

/** @param log everything it says is added to this file */
export function startProgram(name: string, [command = '', ...args]: readonly string[], log: string): Program {
  return logged(name, log, (stdio) => spawn(command, args, { stdio }))
}

/**
 * Waits until `look` returns something.
 *
 * @param what completes "… did not come within N s"
 * @param program the wait ends with it, where it ends
 * @throws Error with its last words, or those of the last look
 */
export async function started<T>(
  what: string,
  program: Program | undefined,
  look: () => Promise<T | undefined> | T | undefined,
  milliseconds = START_MS,
): Promise<T> {
  const deadline = performance.now() + milliseconds
  let last = ''
  for (;;) {
    const ended = program?.ended()
    if (ended !== undefined) throw new Error(ended)
    try {
      const found = await look()
      if (found !== undefined) return found
    } catch (error) {
      last = `: ${error instanceof Error ? error.message : String(error)}`
    }
    if (performance.now() > deadline)
      throw new Error(`${what} did not come within ${milliseconds / 1000} s${last}`)
    await wait(POLL_MS)
  }
}

/** Runs a command to its end. @throws Error with what it said when it fails */
export async function command(argv: readonly string[]): Promise<string> {
  const [file = '', ...args] = argv
  try {
    return (await promisify(execFile)(file, args, { timeout: START_MS })).stdout
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string }
    throw new Error(`${argv.join(' ')}: ${stderr.trim() || message}`)
  }
}
