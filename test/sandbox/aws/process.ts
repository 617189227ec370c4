/** Starts and ends the process of the stand-in. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Ready } from './main.ts'

const READY_MS = 180_000
const END_MS = 30_000
const MAX_ERROR_TEXT = 4000

/** Waits for the line with the addresses that it listens on. Throws with the process's output when it ends or takes too long. */
export function awaitReady(child: ChildProcess): Promise<Ready> {
  const { promise, resolve, reject } = Promise.withResolvers<Ready>()
  const { stdin, stdout, stderr } = child
  if (!stdin || !stdout) throw new Error('standard input and output of the AWS process must be pipes')
  let printed = ''
  let errors = ''
  const fail = (what: string) => reject(new Error(`AWS ${what}${errors === '' ? '' : `: ${errors.trim()}`}`))
  const timer = setTimeout(() => fail(`was not ready after ${READY_MS} ms`), READY_MS)
  // Closing the pipe tells the process that this one has ended; it is no error if the process has ended first.
  stdin.on('error', () => undefined)
  stderr?.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-MAX_ERROR_TEXT)
  })
  child.once('error', (error) => fail(`cannot be started (${error.message})`))
  // `close` and not `exit`, so that all of its output has been read.
  child.once('close', (code, signal) => fail(`ended at once with ${signal ?? code}`))
  stdout.on('data', (chunk: Buffer) => {
    printed += chunk.toString()
    const end = printed.indexOf('\n')
    if (end >= 0) resolve(JSON.parse(printed.slice(0, end)) as Ready)
  })
  return promise.finally(() => clearTimeout(timer))
}

/** Ends the process by closing its standard input, or by force after half a minute. Resolves when it has ended. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const gone = once(child, 'exit')
  child.stdin?.end()
  const timer = setTimeout(() => child.kill('SIGKILL'), END_MS)
  await gone
  clearTimeout(timer)
}
