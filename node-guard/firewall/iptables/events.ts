import type { EventFilter } from '../nft/rule-events.ts'
import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import type { Family, IptablesTable } from '../rules/iptables.ts'

const BUILT_IN = 'PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING'
/** As `nft monitor` prints it: `insert rule ip filter FORWARD …`, `delete table ip6 mangle`. */
const NFT_LINE = new RegExp(
  `\\b(?:rule|chain) ip6? (?:filter|mangle|nat) (?:${BUILT_IN})\\b|table ip6? (?:filter|mangle|nat)\\b`,
)
const DELETED = /^delete table (ip6?) (filter|mangle|nat)$/
const OURS_ADDED = new RegExp(`^(?:add|create) chain (ip6?) (filter|mangle|nat) ${GUARD_CHAINS}`)

/** Whether a notification is about our chains, or about a built-in chain, where a rule may have been inserted before our jump. */
const concernsIptables = (line: string) => line.includes(GUARD_CHAINS) || NFT_LINE.test(line)

/** The tables that have lost our chains, as far as can be determined without reading them. */
export type LostTables = {
  readonly any: () => boolean
  readonly of: (family: Family) => readonly IptablesTable[]
  /** The tables are about to be read or written: what was known until now no longer counts. */
  readonly forget: () => void
}

/**
 * {@link LostTables} from the kernel's notifications (`ruleEvents`). A table that a transaction deleted has no chains of ours, unless that
 * transaction or a later one added them again (ours, or another program's restore of saved rules). A transaction ends with the line
 * `# new generation`.
 */
export function monitoredTables() {
  const lost = new Set<string>()
  let deleted = new Set<string>()
  let concerned = false
  return {
    /** Takes a line; returns whether it ends a transaction that concerns us. To be called once for each line, in order. */
    handle: (line: string) => {
      const [, ip, table] = DELETED.exec(line) ?? []
      if (table !== undefined) deleted.add(`${ip} ${table}`)
      const [, ourIp, ourTable] = OURS_ADDED.exec(line) ?? []
      for (const tables of [lost, deleted]) tables.delete(`${ourIp} ${ourTable}`)
      concerned ||= concernsIptables(line)
      if (!line.startsWith('# new generation')) return false
      for (const key of deleted) lost.add(key)
      const concerns = concerned
      deleted = new Set()
      concerned = false
      return concerns
    },
    any: () => lost.size > 0,
    of: (family: Family) =>
      (['mangle', 'filter', 'nat'] as const).filter((table) =>
        lost.has(`${family === 6 ? 'ip6' : 'ip'} ${table}`),
      ),
    forget: () => lost.clear(),
  }
}

/** Selects the notifications of nf_tables that are about the rules of iptables-nft. */
export const iptablesEventFilter = (lost: ReturnType<typeof monitoredTables>): EventFilter => ({
  tables: ['ip', 'ip6'].flatMap((family) => ['filter', 'mangle', 'nat'].map((table) => `${family} ${table}`)),
  matches: lost.handle,
})
