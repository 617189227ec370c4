/** Memory and handles of a process as the kernel counts them, and what "flat" means. */
import { readdirSync, readFileSync } from 'node:fs'

export const MIB = 1024 * 1024

/** Private dirty memory, bytes: what this process alone uses on the node. */
export function privateDirty(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  return Number(/^Private_Dirty:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024
}

/** Number of open file descriptors, sockets included. */
export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

export type Flatness = { readonly first: number; readonly last: number; readonly flat: boolean }

/** A quarter of a run is warm-up, in which code is compiled, caches fill, and the heap reaches its size. */
const WARM_UP = 1 / 4
/**
 * Two medians of a flat process differ by up to 1 MiB, because the young generation is 1 MiB wide and the garbage collector
 * returns pages at any time. A leak adds up to more: at 60 hostile connections a second, 100 bytes per
 * connection are 2 MiB in the 5 minutes between the middles of the first and of the last third of a 10-minute run.
 */
export const MOST_GROWTH = 2 * MIB

/**
 * Compares the medians of the first and of the last third of what follows the warm-up. Medians, because a single sample
 * during a flood or before a garbage collection means nothing.
 *
 * @param samples bytes, at equal intervals
 */
export function flatness(samples: readonly number[]): Flatness {
  const warm = samples.slice(Math.floor(samples.length * WARM_UP))
  const third = Math.ceil(warm.length / 3)
  const first = median(warm.slice(0, third))
  const last = median(warm.slice(-third))
  return { first, last, flat: last <= first + MOST_GROWTH }
}

/** The median; NaN if there are no values. */
function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** The quantile `q` (0 to 1): the share `q` of all values lies below it. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}
