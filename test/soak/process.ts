/** Runs the built sidecar as its image does, and checks everything that it logs line by line. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { ask, loopbackEnv, type Workshop } from '../sidecar/support/index.ts'
import { until } from '../support/until.ts'
import { SECRET_WORDS, SERVICE_ACCOUNT_TOKEN, wordIn } from './secrets.ts'

/** A smaller heap and fewer threads: see sidecar/README.md. */
const NODE_FLAGS = ['--max-semi-space-size=1', '--v8-pool-size=0']

export type LogSummary = {
  lines: number
  bytes: number
  longest: number
  /** Lines of level error: requests that failed, credentials that expired. */
  readonly errors: string[]
  /** Lines that are not JSON or contain a secret. */
  readonly faults: string[]
  readonly byMessage: Record<string, number>
  /** Texts that look like a session token. */
  readonly tokenLike: Set<string>
}

export type SoakedProcess = {
  readonly child: ChildProcess
  readonly pid: number
  readonly port: number
  readonly healthPort: number
  readonly log: LogSummary
  /** Exit code or signal; undefined while it runs. */
  readonly ended: () => number | string | undefined
  /** Sends SIGTERM; resolves with the exit code or signal. */
  readonly stop: () => Promise<number | string>
}

const MOST_KEPT = 10

/** Starts it and waits until it listens and its gate would open. */
export async function startSoaked(workshop: Workshop, brokerUrl: string): Promise<SoakedProcess> {
  const child = spawn(process.execPath, [...NODE_FLAGS, workshop.bundle], {
    env: loopbackEnv(workshop, brokerUrl),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  // Also when this process is ended by a signal: an orphan would go on serving.
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  child.once('exit', () => process.off('exit', kill))
  const log: LogSummary = {
    lines: 0,
    bytes: 0,
    longest: 0,
    errors: [],
    faults: [],
    byMessage: {},
    tokenLike: new Set(),
  }
  let ports: { port: number; healthPort: number } | undefined
  createInterface({ input: child.stdout }).on('line', (line) => {
    const entry = take(log, line)
    if (entry?.msg === 'listening') ports = { port: Number(entry.port), healthPort: Number(entry.healthPort) }
  })
  const closed = once(child, 'close')
  const ended = () => child.exitCode ?? child.signalCode ?? undefined
  try {
    const { port, healthPort } = await until('the sidecar listens', () => {
      if (ended() !== undefined) throw new Error(`the sidecar ended with ${ended()}`)
      return ports
    })
    const ready = async () => (await ask(healthPort, { path: '/readyz' })).status === 200
    await until('the sidecar is ready, whatever its broker answered first', ready, { deadlineMs: 30_000 })
    const stop = async () => {
      child.kill('SIGTERM')
      const late = setTimeout(kill, 5000)
      await closed
      clearTimeout(late)
      return ended() ?? 'unknown'
    }
    return { child, pid: child.pid ?? 0, port, healthPort, log, ended, stop }
  } catch (error) {
    kill()
    throw error
  }
}

/** Adds a line to the summary. */
export function take(log: LogSummary, line: string): Record<string, unknown> | undefined {
  log.lines++
  log.bytes += line.length + 1
  log.longest = Math.max(log.longest, line.length)
  const secret = wordIn(line, [...SECRET_WORDS, SERVICE_ACCOUNT_TOKEN])
  if (secret !== undefined) keep(log.faults, `a log line contains ${secret}: ${line.slice(0, 200)}`)
  for (const [token] of line.matchAll(/[\w-]{54}==/g))
    if (log.tokenLike.size < 10_000) log.tokenLike.add(token)
  let entry: Record<string, unknown>
  try {
    entry = JSON.parse(line)
  } catch {
    keep(log.faults, `a log line is not JSON: ${line.slice(0, 200)}`)
    return undefined
  }
  const message = String(entry.msg)
  log.byMessage[message] = (log.byMessage[message] ?? 0) + 1
  if (entry.level === 'error') keep(log.errors, line.slice(0, 500))
  return entry
}

function keep(list: string[], sentence: string): void {
  if (list.length < MOST_KEPT) list.push(sentence)
}
