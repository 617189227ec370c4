/**
 * Groups that compete for the processors as the cgroups of a node's pods and containers do. This needs version 1 of cgroups, whose
 * `cpu.shares` can express each weight of version 2 as well: to the kernel, a weight is 1024/100 shares.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'

const ROOT = '/sys/fs/cgroup/cpu'
const PERIOD_US = 100_000
/** Shares of the whole bench beside other processes, which have 1024 each: what else runs on this machine gets a small part. */
const BENCH_SHARES = 131_072

export type CpuGroup = {
  /** A process that writes its id here joins the group. */
  readonly procs: string
  readonly setShares: (shares: number) => void
  /** The most that it may use of a processor, in thousandths, set as the kubelet sets a limit. */
  readonly limit: (millis: number) => void
  readonly child: (name: string, shares: number) => CpuGroup
}

export type BenchGroups = {
  readonly top: CpuGroup
  /** Removes the groups once no process is in any of them. */
  readonly remove: () => void
}

/** How a kubelet and a runtime turn the millicores that a container requests into weights. */
export const CONVERSIONS = {
  'cgroup v1': (millis: number) => sharesOf(millis),
  // The conversion of the kubelet (KEP-2254), of runc until 1.3.1 and of crun until 1.22.
  'cgroup v2': (millis: number) => sharesOfWeight(1 + Math.floor(((sharesOf(millis) - 2) * 9999) / 262_142)),
  // The conversion of runc and crun since then (opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value).
  'cgroup v2, newer runc': (millis: number) => {
    const log = Math.log2(sharesOf(millis))
    return sharesOfWeight(Math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34)))
  },
} as const satisfies Record<string, (millis: number) => number>
export type Conversion = keyof typeof CONVERSIONS

/** The kubelet's MilliCPUToShares. */
const sharesOf = (millis: number) => Math.max(2, Math.floor((millis * 1024) / 1000))

const sharesOfWeight = (weight: number) => Math.max(2, Math.round((weight * 1024) / 100))

/**
 * Creates the group below which a bench creates its own, beside everything else on this machine.
 *
 * @throws an Error that says why that is not possible
 */
export function benchGroups(): BenchGroups {
  if (!existsSync(join(ROOT, 'cpu.cfs_quota_us')))
    throw new Error(`no cpu controller of cgroup v1 at ${ROOT}`)
  const paths: string[] = []
  const make = (path: string, shares: number): CpuGroup => {
    mkdirSync(path)
    paths.push(path)
    const write = (file: string, value: number) => writeFileSync(join(path, file), String(value))
    write('cpu.shares', shares)
    return {
      procs: join(path, 'cgroup.procs'),
      setShares: (value) => write('cpu.shares', value),
      limit: (millis) => write('cpu.cfs_quota_us', (millis * PERIOD_US) / 1000),
      child: (name, own) => make(join(path, name), own),
    }
  }
  const top = make(join(ROOT, `pod2iam-bench-${process.pid}`), BENCH_SHARES)
  return {
    top,
    remove: () => {
      for (const path of paths.reverse()) rmdirSync(path)
    },
  }
}

/** Moves this process into a group; the result moves it back. */
export function enter({ procs }: CpuGroup): () => void {
  const line = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .find((text) => text.split(':')[1] === 'cpu')
  const before = join(ROOT, line?.split(':').slice(2).join(':') ?? '/', 'cgroup.procs')
  writeFileSync(procs, String(process.pid))
  return () => writeFileSync(before, String(process.pid))
}

/** The command that starts another command inside a group. */
export function inside({ procs }: CpuGroup, command: readonly string[]): [string, ...string[]] {
  return ['/bin/sh', '-c', 'echo $$ >"$0" && exec "$@"', procs, ...command]
}

export type Burners = {
  readonly run: () => void
  readonly rest: () => void
  readonly end: () => Promise<void>
}

/** As many busy loops as there are processors, idle until started. They end with this process. */
export function burners(group: CpuGroup): Burners {
  const children = Array.from({ length: availableParallelism() }, () => burner(group))
  const all = (signal: NodeJS.Signals) => {
    for (const child of children) child.kill(signal)
  }
  return {
    run: () => all('SIGCONT'),
    rest: () => all('SIGSTOP'),
    end: async () => {
      const ends = children.map((child) => once(child, 'close'))
      all('SIGKILL')
      await Promise.all(ends)
    },
  }
}

function burner(group: CpuGroup): ChildProcess {
  const [file, ...args] = inside(group, [
    ...['setpriv', '--pdeathsig=KILL', '/bin/sh', '-c', 'kill -STOP $$; while :; do :; done'],
  ])
  return spawn(file, args, { stdio: 'ignore' })
}

/** What else the machine does: its load in the last minute, and how many threads are runnable now. */
export function machineLoad(): string {
  const [minute = '', , , running = ''] = readFileSync('/proc/loadavg', 'utf8').split(' ')
  return `load ${minute}, ${running.split('/')[0]} runnable`
}
