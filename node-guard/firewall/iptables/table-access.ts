import type { Failure } from '../process/failure.ts'
import { GUARD_PLACES } from '../rules/guard-iptables.ts'
import type { Family, IptablesTable, Place } from '../rules/iptables.ts'
import { type Iptables, restore } from './command.ts'
import type { LegacyNat } from './legacy-nat.ts'
import { mergeReads, type Read, readChains, readTables } from './reading.ts'

/** Reads and writes tables, together with as few rules of other programs as the variant allows. */
export type TableAccess = {
  /** Whether the nat table is too large to be touched, so that the pins are missing. */
  readonly skipsNat: (family: Family) => boolean
  /** Discards what was read earlier of these tables, which are known to have lost rules. */
  readonly forgetLost: (family: Family, tables: readonly IptablesTable[]) => void
  readonly read: (tool: Iptables, tables: readonly IptablesTable[]) => Promise<Read>
  readonly restore: (
    tool: Iptables,
    input: string,
    tables: readonly IptablesTable[],
  ) => Promise<{ readonly ok: true } | Failure>
}

/** iptables-nft reads and writes single chains by name. */
export const NFT_ACCESS: TableAccess = {
  skipsNat: () => false,
  forgetLost: () => {},
  read: (tool, tables) => {
    const among = ({ table }: Place) => tables.includes(table)
    return readChains(tool, GUARD_PLACES.hooks.filter(among), GUARD_PLACES.own.filter(among))
  },
  restore,
}

/** iptables-legacy reads and writes whole tables. */
export const legacyAccess = (nat: LegacyNat): TableAccess => ({
  skipsNat: nat.isTooBig,
  forgetLost: nat.forgetLost,
  read: async (tool, tables) => {
    const small = tables.filter((table) => table !== 'nat')
    const reads = [readTables(tool, small), ...(tables.includes('nat') ? [nat.read(tool)] : [])]
    return mergeReads(await Promise.all(reads))
  },
  restore: (tool, input, tables) =>
    tables.includes('nat') ? nat.restore(tool, input) : restore(tool, input),
})
