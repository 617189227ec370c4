/** A program whose output goes to a file, which is read for the reason when the program ends. */
import type { ChildProcess, StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'

export type Program = {
  readonly child: ChildProcess
  /** Why it has ended, with its last output; undefined while it runs. */
  readonly ended: () => string | undefined
  readonly kill: () => Promise<void>
}

const LOG_TAIL = 3000

/** @param log the file to which its output is appended */
export function logged(name: string, log: string, spawn: (stdio: StdioOptions) => ChildProcess): Program {
  const file = openSync(log, 'a')
  const child = spawn(['ignore', file, file])
  closeSync(file)
  let failure: string | undefined
  child.on('error', (error) => {
    failure = error.message
  })
  const isOver = () => failure !== undefined || child.exitCode !== null || child.signalCode !== null
  return {
    child,
    ended: () =>
      isOver()
        ? `${name} ended (${failure ?? child.signalCode ?? child.exitCode}):\n${readFileSync(log, 'utf8').slice(-LOG_TAIL)}`
        : undefined,
    async kill() {
      if (isOver()) return
      const exit = once(child, 'exit')
      child.ref()
      // Its state is not needed any more.
      child.kill('SIGKILL')
      await exit
    },
  }
}
