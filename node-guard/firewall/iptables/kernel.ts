import { GUARD_PLACES } from '../rules/guard-iptables.ts'
import { type Family, type Iptables, type IptablesFailure, restore } from './command.ts'
import type { LegacyNat } from './legacy-nat.ts'
import type { Place } from './listed.ts'
import { type Read, readChains, readTables, readTogether } from './reading.ts'
import type { IptablesTable } from './saved.ts'

/** How tables are read and written, without a look at more of other people's rules than the variant makes us. */
export type Kernel = {
  /** The pins cannot be kept here. */
  readonly leavesNat: (family: Family) => boolean
  readonly read: (tool: Iptables, tables: readonly IptablesTable[]) => Promise<Read>
  readonly restore: (
    tool: Iptables,
    input: string,
    tables: readonly IptablesTable[],
  ) => Promise<{ readonly ok: true } | IptablesFailure>
}

/** iptables-nft reads and writes chains by name, whatever else there is. */
export const NF_TABLES: Kernel = {
  leavesNat: () => false,
  read: (tool, tables) => {
    const among = ({ table }: Place) => tables.includes(table)
    return readChains(tool, GUARD_PLACES.hooks.filter(among), GUARD_PLACES.own.filter(among))
  },
  restore,
}

/** iptables-legacy knows whole tables only. */
export const ipTables = (nat: LegacyNat): Kernel => ({
  leavesNat: nat.isTooBig,
  read: async (tool, tables) => {
    const small = tables.filter((table) => table !== 'nat')
    const reads = [readTables(tool, small), ...(tables.includes('nat') ? [nat.read(tool)] : [])]
    return readTogether(await Promise.all(reads))
  },
  restore: (tool, input, tables) =>
    tables.includes('nat') ? nat.restore(tool, input) : restore(tool, input),
})
