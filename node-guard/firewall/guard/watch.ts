import { spawn } from 'node:child_process'
import { toolEnvironment } from '../exec.ts'

export type Watched = {
  readonly command: string
  readonly args: readonly string[]
  /** Whether a line of output is about us; called once for each, in order. */
  readonly matches: (line: string) => boolean
}

export type WatchEvents = {
  /** Lines that match; called once per chunk of output. */
  readonly event: (lines: readonly string[]) => void
  /**
   * What happened before now may not have been seen: the command runs again after it had ended, or has, started at any
   * time, had the time to subscribe.
   */
  readonly unseen: () => void
  /** The command ended or could not be started; it is started again by itself. */
  readonly ended: (detail: string) => void
}

const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 5000
/** A command that lived this long was well: the pauses begin from the start again. */
const HEALTHY_MS = 10_000
/** A monitor does not say when it begins to listen; nft takes some ten milliseconds. */
const SUBSCRIBED_MS = 1000
/** No line of ours is longer; a longer one (another table's huge set) is looked at in parts. */
const MAX_LINE = 64 * 1024

/** Follows the output of a monitoring command for ever, starting it again when it ends. Returns what ends it. */
export function watch({ command, args, matches }: Watched, events: WatchEvents): () => void {
  let stopped = false
  let pause = FIRST_PAUSE_MS
  let stop = () => {}

  const start = (first: boolean) => {
    if (stopped) return
    const startedAt = performance.now()
    const child = spawn(command, args, { env: toolEnvironment(), stdio: ['ignore', 'pipe', 'ignore'] })
    let rest = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n')
      rest = (lines.pop() ?? '').slice(-MAX_LINE)
      const matching = lines.filter(matches)
      if (matching.length > 0) events.event(matching)
    })
    const subscribed = setTimeout(events.unseen, SUBSCRIBED_MS)
    let over = false
    const end = (detail: string) => {
      if (over || stopped) return
      over = true
      clearTimeout(subscribed)
      events.ended(`${command} ${args.join(' ')} ended (${detail}); starting it again`)
      pause =
        performance.now() - startedAt > HEALTHY_MS ? FIRST_PAUSE_MS : Math.min(pause * 2, LONGEST_PAUSE_MS)
      const timer = setTimeout(() => start(false), pause)
      stop = () => clearTimeout(timer)
    }
    child.on('error', (error) => end(error.message))
    child.on('exit', (code, signal) => end(signal ?? `exit code ${code}`))
    child.on('spawn', () => {
      if (!first) events.unseen()
    })
    stop = () => {
      clearTimeout(subscribed)
      child.kill('SIGTERM')
    }
  }
  start(true)
  return () => {
    stopped = true
    stop()
  }
}
