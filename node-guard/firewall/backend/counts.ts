import { COUNTERS, type CounterName } from '../rules/guard.ts'

/** Packets by counter. */
export type Packets = Readonly<Record<CounterName, number>>

export const NO_PACKETS: Packets = zeroCounts(COUNTERS)

export type Counts = ReturnType<typeof createCounts>

/** Adds up packets over the life of this process: the kernel's counters start again with every load, these do not. */
export function createCounts() {
  const total = { ...NO_PACKETS }
  let last: Partial<Packets> = {}
  return {
    /** Takes a reading of the kernel's counters. */
    read: (packets: Partial<Packets>) => {
      for (const name of COUNTERS) {
        const [value, before] = [packets[name] ?? 0, last[name] ?? 0]
        total[name] += value >= before ? value - before : value
      }
      last = packets
    },
    /** The rules were loaded again. */
    restart: () => {
      last = {}
    },
    total: (): Packets => ({ ...total }),
  }
}

export function zeroCounts<const K extends string>(keys: readonly K[]): Record<K, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>
}
