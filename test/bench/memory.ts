/** The memory that a process uses, from /proc (Linux). */
import { readFileSync } from 'node:fs'

const MIB = 1024

export type Memory = {
  /** Private dirty pages, MiB: what one more such process uses on a node. */
  readonly privateDirty: number
  /** Proportional set size, MiB: private pages, and its share of the pages that several processes map. */
  readonly pss: number
}

/** @param pid of a running process of this user */
export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]) / MIB
  return { privateDirty: field('Private_Dirty'), pss: field('Pss') }
}
