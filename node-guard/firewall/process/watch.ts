import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { StringDecoder } from 'node:string_decoder'
import { backoff } from '../../../common/backoff.ts'
import { systemClock } from '../../../common/clock.ts'
import { messageOf } from '../../../common/errors.ts'
import { toolEnvironment } from './exec.ts'

export type MonitorCommand = {
  readonly command: string
  readonly args: readonly string[]
  /** Whether a line of output is about our rules, link or routes; called once for each, in order. */
  readonly matches: (line: string) => boolean
  /** Creates the decoder for the output of one run, if that is not text. The decoder may throw, which ends the run. */
  readonly decoder?: () => (chunk: Buffer) => readonly string[]
}

type WatchEvents = {
  /** Lines that match; called once per chunk of output. */
  readonly event: (lines: readonly string[]) => void
  /**
   * What happened before now may have been missed: the command ended after it had been listening (perhaps because more
   * happened than it could follow), it was started again, or it has had the time to subscribe since its start.
   */
  readonly missed: () => void
  /** The command ended or could not be started; it is restarted automatically. */
  readonly ended: (detail: string) => void
}

const RESTART = { base: 100, cap: 5000 }
/** A command that ran this long was healthy: its end counts as the first. */
const HEALTHY_MS = 10_000
/** A monitor does not say when it starts to listen: that takes some ten milliseconds, on a crowded machine seconds. */
const SUBSCRIBED_MS = 1000
/** How many times its subscription is looked for at most: where `/proc` does not show it, it is never found. */
const MAX_SUBSCRIPTION_LOOKS = 60
/** No line that concerns us is longer; a longer one (the huge set of another table) is matched in parts. */
const MAX_LINE = 64 * 1024

/** Follows the output of a monitoring command, and starts it again whenever it ends. Returns what stops it. */
export function watch(
  { command, args, matches, decoder = textLines }: MonitorCommand,
  events: WatchEvents,
): () => void {
  let stopped = false
  let failures = 0
  let stop = () => {}

  const start = (first: boolean) => {
    if (stopped) return
    const startedAt = systemClock.monotonic()
    const child = spawn(command, args, { env: toolEnvironment(), stdio: ['ignore', 'pipe', 'ignore'] })
    const decode = decoder()
    let hasOutput = false
    let over = false
    let looks = 0
    const look = () => {
      // Checked before `missed` is called: what happens from now on will be notified.
      const subscribed = isSubscribed(child.pid)
      events.missed()
      if (!subscribed && ++looks < MAX_SUBSCRIPTION_LOOKS) subscription = setTimeout(look, SUBSCRIBED_MS)
    }
    let subscription = setTimeout(look, SUBSCRIBED_MS)
    const end = (detail: string) => {
      if (over || stopped) return
      over = true
      clearTimeout(subscription)
      if (hasOutput || systemClock.monotonic() - startedAt > SUBSCRIBED_MS) events.missed()
      events.ended(`${command} ${args.join(' ')} ended (${detail}); starting it again`)
      failures = systemClock.monotonic() - startedAt > HEALTHY_MS ? 1 : failures + 1
      const timer = setTimeout(() => start(false), backoff(failures, RESTART))
      stop = () => clearTimeout(timer)
    }
    child.stdout.on('data', (chunk: Buffer) => {
      if (over) return
      hasOutput = true
      try {
        const matching = decode(chunk).filter(matches)
        if (matching.length > 0) events.event(matching)
      } catch (error) {
        child.kill('SIGKILL')
        end(messageOf(error))
      }
    })
    child.on('error', (error) => end(error.message))
    child.on('exit', (code, signal) => end(signal ?? `exit code ${code}`))
    child.on('spawn', () => {
      if (!first) events.missed()
    })
    stop = () => {
      clearTimeout(subscription)
      child.kill('SIGTERM')
    }
  }
  start(true)
  return () => {
    stopped = true
    stop()
  }
}

/** Whether a process listens to a netlink multicast group. Lines are `socket protocol port groups …`; the port is its pid. */
function isSubscribed(pid: number | undefined): boolean {
  try {
    return readFileSync('/proc/net/netlink', 'utf8')
      .split('\n')
      .some((line) => {
        const [, , port, groups = ''] = line.trim().split(/\s+/)
        return port === String(pid) && /[^0]/.test(groups)
      })
  } catch {
    return false
  }
}

function textLines(): (chunk: Buffer) => readonly string[] {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  return (chunk) => {
    const lines = (rest + decoder.write(chunk)).split('\n')
    rest = (lines.pop() ?? '').slice(-MAX_LINE)
    return lines
  }
}
