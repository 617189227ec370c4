import { spawn } from 'node:child_process'
import { timedPromise } from '../../../common/timed-promise.ts'
import { toolEnvironment } from '../process/exec.ts'
import { OWNED_TABLE } from '../rules/guard-nft.ts'

/** A process that owns the tables it loads. */
export type Holder = ReturnType<typeof startHolder>

const TIMEOUT_MS = 10_000
const MAX_OUTPUT = 1024 * 1024
const LISTING = /^table [\s\S]*?\n\}\n/m
const COMPLAINT = /Error: (.*)\n/

/**
 * Starts `nft -i`, which owns the tables it makes with `flags owner` until it ends: other processes get EPERM, and
 * `flush ruleset` leaves such tables out. It ends with its standard input, and so also when this process is killed.
 *
 * To verify what was loaded, one chain is listed. To list a whole table, it would read the chains of all tables and keep them in memory.
 *
 * @param ended called once, with the reason; not after `end`
 */
export function startHolder(ended: (why: string) => void) {
  const child = spawn('nft', ['--handle', '--interactive'], {
    env: toolEnvironment(),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let over = false
  let output = ''
  let newest = 0
  let onOutput = () => {}
  const receive = (chunk: string) => {
    if (output.length < MAX_OUTPUT) output += chunk
    onOutput()
  }
  const end = (why: string) => {
    if (over) return
    over = true
    receive(`Error: it ended (${why})\n`)
    ended(why)
  }
  child.stdout.setEncoding('utf8').on('data', receive)
  child.stderr.setEncoding('utf8').on('data', receive)
  child.stdin.on('error', () => {})
  child.on('error', (error) => end(error.message))
  child.on('exit', (code, signal) => end(signal ?? `exit code ${code}`))

  return {
    /** Loads a table by commands (`tableCommands`) in one transaction. Resolves with why it could not, or undefined. */
    load: (commands: string) => {
      const { promise, resolve: answer } = timedPromise<string | undefined>(TIMEOUT_MS, ({ resolve }) =>
        resolve('nft did not answer in time'),
      )
      output = ''
      onOutput = () => {
        const complaint = COMPLAINT.exec(output)?.[1]
        if (complaint !== undefined) return answer(complaint.trim().slice(0, 300))
        const [listing] = LISTING.exec(output) ?? []
        const handles = listing?.matchAll(/# handle (\d+)/g) ?? []
        const last = Math.max(0, ...[...handles].map(([, handle]) => Number(handle)))
        // These are still the earlier rules: the reason why they were not replaced comes by the other pipe.
        if (last <= newest) return
        newest = last
        answer(undefined)
      }
      if (over) receive('Error: it has ended\n')
      else child.stdin.write(`${commands.replaceAll('\n', '; ')}\nlist chain ${OWNED_TABLE} forward\n`)
      return promise.finally(() => {
        onOutput = () => {}
      })
    },
    end: () => {
      over = true
      child.kill('SIGKILL')
    },
  }
}
