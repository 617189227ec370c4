/** The guard as a process on a test node. */
import type { ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { FIREWALL_HEALTH_PORT } from '../../common/addresses.ts'
import type { LogLine } from '../support/log.ts'
import { until } from '../support/until.ts'
import { MAIN, type TestNode } from './node.ts'

export type GuardProcess = {
  readonly child: ChildProcess
  readonly logs: readonly LogLine[]
  readonly readiness: () => Promise<{ status: number | string; code?: string; detail?: string }>
  /** Value of a metric, with its labels as printed. */
  readonly metric: (sample: string) => Promise<number>
  /** The number of repairs, whatever caused the check: soon after its start it also checks by itself. */
  readonly repairs: () => Promise<number>
  /** Waits until `/readyz` gives this code, and, if it is ready, until it would notice changes. */
  readonly becomes: (code: string) => Promise<void>
  /** The pid, in this pid namespace, of its child whose command line begins with this. */
  readonly monitorPid: (commandLine: string) => number
  /** Sends a signal and waits for the end. Gives the exit code and the time it took. */
  readonly end: (signal: NodeJS.Signals) => Promise<{ code: number | null; ms: number }>
}

/** As Kubernetes starts it: root with NET_ADMIN alone, no new privileges. */
export const NET_ADMIN_ONLY = [
  'setpriv',
  '--bounding-set=-all,+net_admin',
  '--inh-caps=-all',
  '--no-new-privs',
  '--',
]
/** As the chart starts it where iptables-legacy is needed. */
export const ADMIN_AND_RAW = NET_ADMIN_ONLY.map((arg) => arg.replace('+net_admin', '+net_admin,+net_raw'))
export const NO_CAPABILITY = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs', '--']

/** Codes of a guard that follows changes. */
const READY: ReadonlySet<string> = new Set(['ready', 'auditing'])

/** Starts `firewall guard` in the node's network namespace; `program` is the firewall's file, by default that of this checkout. */
export async function startGuard(
  node: TestNode,
  flags: readonly string[] = [],
  wrapper: readonly string[] = NET_ADMIN_ONLY,
  program: string = MAIN,
): Promise<GuardProcess> {
  const child = node.spawn('node', [...wrapper, process.execPath, program, 'guard', ...flags])
  const logs: LogLine[] = []
  if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => logs.push(JSON.parse(line)))
  child.stderr?.pipe(process.stderr)
  const agent = await node.agent('node')
  const readiness = async () => {
    const { status, body } = await agent.get({ port: FIREWALL_HEALTH_PORT, path: '/readyz' })
    return { status, ...(body === '' ? {} : JSON.parse(body)) }
  }
  const metrics = async () => (await agent.get({ port: FIREWALL_HEALTH_PORT, path: '/metrics' })).body
  return {
    child,
    logs,
    readiness,
    repairs: async () =>
      [...(await metrics()).matchAll(/^pod2iam_firewall_repairs_total\{.*\} (\d+)$/gm)]
        .map(([, count]) => Number(count))
        .reduce((a, b) => a + b, 0),
    becomes: async (code) => {
      await until(
        `the guard becomes ${code}`,
        seldom(async () => (await readiness()).code === code),
      )
      if (READY.has(code))
        await until(
          'its monitors listen',
          seldom(async () => doMonitorsListen(child.pid ?? 0)),
        )
    },
    metric: async (sample) => {
      const line = (await metrics())
        .split('\n')
        .find((candidate) => candidate.startsWith(`pod2iam_firewall_${sample} `))
      return Number(line?.slice(line.lastIndexOf(' ') + 1))
    },
    monitorPid: (commandLine) => findDescendant(child.pid ?? 0, commandLine),
    end: async (signal) => {
      const started = performance.now()
      if (child.exitCode !== null || child.signalCode !== null) return { code: child.exitCode, ms: 0 }
      const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
      child.kill(signal)
      return { code: await ended, ms: performance.now() - started }
    },
  }
}

/** The pause between checks: each costs milliseconds (an HTTP request, or a walk over all processes) that the guard needs to start. */
const seldom = (condition: () => Promise<boolean>) => async () => {
  if (await condition()) return true
  await pause(15)
  return false
}

type Descendant = { readonly pid: number; readonly commandLine: string }

function descendantsOf(root: number): Descendant[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const stat = read(`/proc/${name}/stat`)
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
  }
  const isBelow = (pid: number) => {
    for (let up = parents.get(pid); up; up = parents.get(up)) if (up === root) return true
    return pid === root
  }
  return [...parents.keys()]
    .filter(isBelow)
    .map((pid) => ({ pid, commandLine: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ') }))
}

function findDescendant(root: number, commandLine: string): number {
  const found = descendantsOf(root).find((process) => process.commandLine.startsWith(commandLine))
  if (found === undefined) throw new Error(`no process under ${root} runs ${commandLine}`)
  return found.pid
}

/** Programs that report changes to the guard by netlink. */
const MONITOR = /^\S*(?:nft monitor|xtables-monitor|ip (?:-\S+ )*monitor|socat )/

/**
 * Whether each monitor of a guard listens. The guard is ready earlier: it reads everything back a second after it started
 * one, which is too soon on a busy machine, so that a change just after that would only be found at the next poll.
 */
function doMonitorsListen(root: number): boolean {
  return descendantsOf(root)
    .filter(({ commandLine }) => MONITOR.test(commandLine))
    .every(({ pid }) => {
      const listening = new Set(
        read(`/proc/${pid}/net/netlink`)
          .split('\n')
          .map((line) => line.trim().split(/\s+/))
          .filter(([, , , groups]) => groups !== '00000000')
          .map((columns) => `socket:[${columns[9]}]`),
      )
      return socketsOf(pid).some((socket) => listening.has(socket))
    })
}

function socketsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
  } catch {
    // The process has ended, or has just closed this file descriptor.
    return []
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
