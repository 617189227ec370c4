import { spawn } from 'node:child_process'
import { toolEnvironment } from '../exec.ts'
import { OWNED_TABLE } from './ruleset.ts'

/** A process that owns what it loads. */
export type Holder = {
  /** Loads a one-line ruleset in one transaction: the table as `nft list` then prints it, or why it could not. */
  readonly load: (ruleset: string) => Promise<{ readonly listing: string } | { readonly failed: string }>
  readonly end: () => void
}

const TIMEOUT_MS = 10_000
const MAX_OUTPUT = 1024 * 1024
const LISTING = /^table .*# handle (\d+)[\s\S]*?\n\}\n/m
const COMPLAINT = /Error: (.*)\n/

/**
 * Starts `nft -i`, which owns the tables it makes with `flags owner` until it ends: others are refused (EPERM), or
 * silently passed over (`flush ruleset`). It ends with its standard input, so also when this process is killed.
 *
 * Text, not JSON: for the flag `owner` nft 1.0.6 prints what lies behind an array of its own in JSON, which is no JSON
 * when that is nothing.
 *
 * @param ended called once, with why; not after `end`
 */
export function startHolder(ended: (why: string) => void): Holder {
  const child = spawn('nft', ['--handle', '--interactive'], {
    env: toolEnvironment(),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let over = false
  let output = ''
  let handle: string | undefined
  let heard = () => {}
  const hear = (chunk: string) => {
    if (output.length < MAX_OUTPUT) output += chunk
    heard()
  }
  const end = (why: string) => {
    if (over) return
    over = true
    hear(`Error: it ended (${why})\n`)
    ended(why)
  }
  child.stdout.setEncoding('utf8').on('data', hear)
  child.stderr.setEncoding('utf8').on('data', hear)
  child.stdin.on('error', () => {})
  child.on('error', (error) => end(error.message))
  child.on('exit', (code, signal) => end(signal ?? `exit code ${code}`))

  return {
    load: (ruleset) =>
      new Promise((resolve) => {
        output = ''
        const answer = (result: { listing: string } | { failed: string }) => {
          clearTimeout(timer)
          heard = () => {}
          resolve(result)
        }
        const timer = setTimeout(answer, TIMEOUT_MS, { failed: 'nft did not answer in time' })
        heard = () => {
          const complaint = COMPLAINT.exec(output)?.[1]
          if (complaint !== undefined) return answer({ failed: complaint.trim().slice(0, 300) })
          const [listing, now] = LISTING.exec(output) ?? []
          // The old handle is the old table: why it was not replaced is still on its way, by the other pipe.
          if (listing === undefined || now === handle) return
          handle = now
          answer({ listing })
        }
        if (over) hear('Error: it has ended\n')
        else child.stdin.write(`${ruleset}\nlist table ${OWNED_TABLE}\n`)
      }),
    end: () => {
      over = true
      child.kill('SIGKILL')
    },
  }
}
