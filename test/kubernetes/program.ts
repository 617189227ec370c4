/** The programs of the cluster as processes. */
import { execFile, spawn } from 'node:child_process'
import { promisify } from 'node:util'
import { logged, type Program } from '../sandbox/real/logged.ts'
import { eventually, Hopeless } from '../support/until.ts'

const POLL_MS = 100
/** On a busy machine, what usually takes seconds takes minutes. */
const START_MS = 300_000

/** @param log the file to which its output is appended */
export function startProgram(name: string, [command = '', ...args]: readonly string[], log: string): Program {
  return logged(name, log, (stdio) => spawn(command, args, { stdio }))
}

/**
 * Waits until `look` returns something.
 *
 * @param program a program whose end also ends the wait
 * @throws Error with the program's last output, or with the error of the last look
 */
export async function started<T>(
  what: string,
  program: Program | undefined,
  look: () => Promise<T | undefined> | T | undefined,
  milliseconds = START_MS,
): Promise<T> {
  const there = () => {
    const ended = program?.ended()
    if (ended !== undefined) throw new Hopeless(ended)
    return look()
  }
  return eventually(what, there, { deadlineMs: milliseconds, pollMs: POLL_MS })
}

/** Runs a command to its end. @throws Error with its output when it fails */
export async function command(argv: readonly string[]): Promise<string> {
  const [file = '', ...args] = argv
  try {
    return (await promisify(execFile)(file, args, { timeout: START_MS })).stdout
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string }
    throw new Error(`${argv.join(' ')}: ${stderr.trim() || message}`)
  }
}
