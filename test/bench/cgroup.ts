/** A memory cgroup below that of this process, version 1 or 2, in which a process runs under a limit as a container does. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export type MemoryCgroup = {
  /** A process that writes its id here joins the cgroup. */
  readonly procs: string
  /** Bytes charged now, less file pages that can be dropped: what the kubelet calls the working set. */
  readonly workingSet: () => number
  /** The most bytes that were ever charged, file pages included; undefined if the kernel does not record it (before 5.19). */
  readonly peak: () => number | undefined
  /** The processes in it, with their ids as seen from here. */
  readonly members: () => readonly number[]
  /** How many processes the kernel killed because of the limit. */
  readonly kills: () => number
  /** Removes the cgroup once no process is in it. */
  readonly remove: () => void
}

/**
 * Creates one with a limit in bytes, swap included.
 *
 * @throws an Error that says why that is not possible on this machine
 */
export function memoryCgroup(name: string, limit: number): MemoryCgroup {
  const { version, directory } = ownCgroup()
  const path = join(directory, name)
  mkdirSync(path)
  const read = (file: string) => readFileSync(join(path, file), 'utf8')
  const member = (file: string, key: string) =>
    Number(new RegExp(`^${key} (\\d+)`, 'm').exec(read(file))?.[1])
  try {
    const files = version === 1 ? V1 : V2
    writeFileSync(join(path, files.limit), String(limit))
    for (const [file, value] of files.noSwap(limit))
      if (existsSync(join(path, file))) writeFileSync(join(path, file), value)
    return {
      procs: join(path, 'cgroup.procs'),
      workingSet: () => Number(read(files.usage)) - member('memory.stat', files.inactiveFile),
      peak: () => (existsSync(join(path, files.peak)) ? Number(read(files.peak)) : undefined),
      members: () => read('cgroup.procs').split('\n').filter(Boolean).map(Number),
      kills: () => member(files.events, 'oom_kill'),
      remove: () => rmdirSync(path),
    }
  } catch (error) {
    rmdirSync(path)
    throw new Error(`no limit can be set in ${path}`, { cause: error })
  }
}

const V1 = {
  limit: 'memory.limit_in_bytes',
  noSwap: (limit: number) => [['memory.memsw.limit_in_bytes', String(limit)]] as const,
  usage: 'memory.usage_in_bytes',
  peak: 'memory.max_usage_in_bytes',
  inactiveFile: 'total_inactive_file',
  events: 'memory.oom_control',
}
const V2 = {
  limit: 'memory.max',
  noSwap: () => [['memory.swap.max', '0']] as const,
  usage: 'memory.current',
  peak: 'memory.peak',
  inactiveFile: 'inactive_file',
  events: 'memory.events',
}

/** The cgroup of this process: lines `id:controllers:path`; the controllers are `memory` in version 1, and empty in version 2. */
function ownCgroup(): { version: 1 | 2; directory: string } {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n')
  const entries = lines.map((line) => line.split(':'))
  const v1 = entries.find(([, controllers = '']) => controllers.split(',').includes('memory'))
  if (v1 !== undefined) return { version: 1, directory: join('/sys/fs/cgroup/memory', v1.slice(2).join(':')) }
  const v2 = entries.find(([id]) => id === '0')
  if (v2 === undefined) throw new Error('this machine has no memory cgroup')
  return { version: 2, directory: join('/sys/fs/cgroup', v2.slice(2).join(':')) }
}

const MIB = 1024 * 1024

/** {@link MemoryCgroup.peak} in MiB. */
export function peakMib(cgroup: MemoryCgroup): number | undefined {
  const peak = cgroup.peak()
  return peak === undefined ? undefined : peak / MIB
}
