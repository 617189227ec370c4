import type { Exec } from '../exec.ts'
import { deleteTable, loadTable, readTable } from '../nft-table.ts'
import type { TableContent } from '../table-content.ts'
import type { Backend, Compared } from './backend.ts'
import { ruleEvents } from './rule-events.ts'
import { COUNTERS, GUARD_TABLE, type GuardRuleset, guardRuleset } from './ruleset.ts'

/** What the table is for. */
export type TableUse = {
  readonly ruleset: (rules: GuardRuleset) => string
  /** It was made anew: its counts begin with it. */
  readonly restarted?: () => void
  /** It was read, changed by somebody or not. */
  readonly read?: (content: TableContent) => void
}

/** The guard's rules as a table of their own in nf_tables. */
export function nftBackend(exec: Exec, use: TableUse = { ruleset: guardRuleset }): Backend {
  let loaded: TableContent | undefined
  /** What a ruleset reads like, once it was loaded. */
  let known: { readonly ruleset: string; readonly content: TableContent } | undefined
  const counts = sinceLoaded()
  const monitored = monitoredTable(() => loaded)
  let limited: string | undefined

  const compare = async (): Promise<Compared> => {
    const seen = await readTable(exec, GUARD_TABLE)
    if (!seen.ok) return { failed: seen.detail }
    if (seen.content === undefined) return { differs: 'is gone' }
    use.read?.(seen.content)
    const packets = counts.read(seen.content.packets)
    return seen.content.text === loaded?.text ? { packets } : { differs: 'was changed', packets }
  }

  return {
    name: 'nft',
    what: `table ${GUARD_TABLE}`,
    load: async (rules) => {
      monitored.expect()
      const ruleset = use.ruleset(rules)
      const result = await loadTable(exec, ruleset)
      if (!result.ok) return result
      if (known?.ruleset !== ruleset) known = result.loaded && { ruleset, content: result.loaded }
      loaded = known?.content
      if (result.replaced !== undefined) use.read?.(result.replaced)
      if (!counts.loaded(result.loaded?.packets ?? {}, result.replaced?.packets)) use.restarted?.()
      return undefined
    },
    compare,
    heard: monitored.heard,
    remove: async () => {
      const before = await readTable(exec, GUARD_TABLE)
      if (!before.ok) return before
      if (before.content === undefined) return 'absent'
      const failed = await deleteTable(exec, GUARD_TABLE)
      if (failed !== undefined) return { detail: failed, unusable: false }
      const after = await readTable(exec, GUARD_TABLE)
      if (!after.ok) return after
      if (after.content === undefined) return 'removed'
      const detail = `table ${GUARD_TABLE} came back: another guard runs on this node; end that one first`
      return { detail, unusable: false }
    },
    watched: async () => {
      const events = await ruleEvents(exec, { tables: [GUARD_TABLE], matches: monitored.hear })
      limited = events.limited
      return events
    },
    limits: () => limited,
  }
}

type Packets = Readonly<Record<string, number>>

/**
 * Packets since the last reading before the table was loaded last. A load that finds the table keeps its counters, one
 * that has to make it begins with new ones: then they stand below what was read before.
 */
function sinceLoaded() {
  let last: Packets = {}
  let offset: Packets = {}
  const minus = (packets: Packets, others: Packets): Packets =>
    Object.fromEntries(COUNTERS.map((name) => [name, (packets[name] ?? 0) - (others[name] ?? 0)]))
  return {
    /**
     * Returns whether the counters are those of before.
     *
     * @param replaced those of the table that was deleted, where one was
     */
    loaded: (packets: Packets, replaced: Packets | undefined): boolean => {
      const goesOn =
        replaced === undefined && Object.entries(last).every(([name, count]) => (packets[name] ?? 0) >= count)
      offset = goesOn ? minus({}, last) : replaced === undefined ? {} : minus(replaced, last)
      last = packets
      return goesOn
    },
    read: (packets: Packets): Packets => {
      last = packets
      return minus(packets, minus({}, offset))
    },
  }
}

/**
 * What the kernel's notifications say of our table, as lines (`netlinkLines`); the last line of a transaction is
 * `# new generation`. One of ours takes all rules away and adds them again.
 */
function monitoredTable(loaded: () => TableContent | undefined) {
  let heard: 'is gone' | 'was changed' | undefined
  let deleted = false
  let touched = false
  let added = 0
  const rulesLoaded = () => Object.values(loaded()?.shape.chains ?? {}).reduce((sum, rules) => sum + rules, 0)
  return {
    /** Whether a transaction that concerned us ends with this line; each is heard once, in order. */
    hear: (line: string): boolean => {
      if (line.startsWith('# new generation')) {
        if (!touched) return false
        const whole = added > 0 && added >= rulesLoaded()
        heard = deleted ? 'is gone' : whole ? undefined : 'was changed'
        deleted = touched = false
        added = 0
        return true
      }
      const [verb, what, family, name] = line.split(' ', 4)
      if (`${family} ${name}` !== GUARD_TABLE) return false
      touched = true
      if (what === 'rule' && verb !== 'delete') added++
      if (what === 'table') deleted = verb === 'delete'
      return false
    },
    /** It is about to be loaded. What was heard before counts no more. */
    expect: () => {
      heard = undefined
    },
    heard: () => heard,
  }
}
