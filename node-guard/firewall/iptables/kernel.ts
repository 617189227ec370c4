import type { Failure } from '../process/failure.ts'
import { GUARD_PLACES } from '../rules/guard-iptables.ts'
import { type Family, type Iptables, restore } from './command.ts'
import type { LegacyNat } from './legacy-nat.ts'
import type { Place } from './listed.ts'
import { type Read, readChains, readTables, readTogether } from './reading.ts'
import type { IptablesTable } from './saved.ts'

/** How tables are read and written, with as few rules of other programs as the variant allows. */
export type Kernel = {
  /** Whether the nat table is too large to be touched, so that the pins are missing. */
  readonly leavesNat: (family: Family) => boolean
  /** These tables are known to have lost something: what was read of them earlier no longer counts. */
  readonly forgetLost: (family: Family, tables: readonly IptablesTable[]) => void
  readonly read: (tool: Iptables, tables: readonly IptablesTable[]) => Promise<Read>
  readonly restore: (
    tool: Iptables,
    input: string,
    tables: readonly IptablesTable[],
  ) => Promise<{ readonly ok: true } | Failure>
}

/** iptables-nft reads and writes single chains by name. */
export const NF_TABLES: Kernel = {
  leavesNat: () => false,
  forgetLost: () => {},
  read: (tool, tables) => {
    const among = ({ table }: Place) => tables.includes(table)
    return readChains(tool, GUARD_PLACES.hooks.filter(among), GUARD_PLACES.own.filter(among))
  },
  restore,
}

/** iptables-legacy reads and writes whole tables. */
export const ipTables = (nat: LegacyNat): Kernel => ({
  leavesNat: nat.isTooBig,
  forgetLost: nat.forgetLost,
  read: async (tool, tables) => {
    const small = tables.filter((table) => table !== 'nat')
    const reads = [readTables(tool, small), ...(tables.includes('nat') ? [nat.read(tool)] : [])]
    return readTogether(await Promise.all(reads))
  },
  restore: (tool, input, tables) =>
    tables.includes('nat') ? nat.restore(tool, input) : restore(tool, input),
})
