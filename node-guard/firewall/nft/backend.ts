import { failed } from '../../../common/result.ts'
import type { Backend, Compared } from '../guard/backend.ts'
import type { Exec, ExecResult } from '../process/exec.ts'
import { COUNTERS, type GuardRuleset } from '../rules/guard.ts'
import { GUARD_TABLE, guardRuleset } from '../rules/guard-nft.ts'
import { tableCommands } from './commands.ts'
import { ruleEvents } from './rule-events.ts'
import { deleteTable, loadTable, readTable } from './table.ts'
import type { TableContent } from './table-content.ts'

type Heard = 'is gone' | 'was changed' | undefined

/** The table that a backend keeps, and what else reads it. */
type TableUse = {
  readonly ruleset: (rules: GuardRuleset) => string
  /** Called when the table was created again, so that its counts start at zero. */
  readonly restarted?: () => void
  /** Called with each reading of the table, whether it was changed or not. */
  readonly read?: (content: TableContent) => void
}

/** The guard's rules as a separate table in nf_tables. */
export function nftBackend(exec: Exec, use: TableUse = { ruleset: guardRuleset }): Backend {
  let loaded: TableContent | undefined
  /** How a ruleset reads once it was loaded. */
  let known: { readonly ruleset: string; readonly content: TableContent } | undefined
  /** What the last load read back, so that comparing needs no second reading. */
  let justRead: TableContent | undefined
  const counts = sinceLoaded()
  const monitored = monitoredTable(() => loaded)
  const atOnce = rewriting(exec)
  let limited: string | undefined

  const judge = (content: TableContent): Compared => {
    use.read?.(content)
    const packets = counts.read(content.packets)
    return content.text === loaded?.text ? { packets } : { differs: 'was changed', packets }
  }

  const compare = async (): Promise<Compared> => {
    const read = justRead
    justRead = undefined
    if (read !== undefined) return judge(read)
    const seen = await readTable(exec, GUARD_TABLE)
    if (!seen.ok) return { failed: seen.detail }
    return seen.content === undefined ? { differs: 'is gone' } : judge(seen.content)
  }

  return {
    name: 'nft',
    what: `table ${GUARD_TABLE}`,
    load: async (rules) => {
      monitored.expect()
      const ruleset = use.ruleset(rules)
      const result = await loadTable(exec, ruleset, atOnce.take(ruleset))
      if (!result.ok) return result
      atOnce.loaded(ruleset)
      justRead = result.loaded
      if (known?.ruleset !== ruleset) known = result.loaded && { ruleset, content: result.loaded }
      loaded = known?.content
      if (result.replaced !== undefined) use.read?.(result.replaced)
      if (!counts.loaded(result.loaded?.packets ?? {}, result.replaced?.packets)) use.restarted?.()
      return undefined
    },
    compare,
    heard: () => atOnce.why() ?? monitored.heard(),
    remove: () => removeTable(exec),
    watched: async () => {
      const matches = (line: string) => {
        if (!monitored.hear(line)) return false
        const heard = monitored.heard()
        if (heard !== undefined) atOnce.start(heard)
        return true
      }
      const events = await ruleEvents(exec, { tables: [GUARD_TABLE], matches })
      limited = events.limited
      return events
    },
    limits: () => limited,
  }
}

async function removeTable(exec: Exec): ReturnType<Backend['remove']> {
  const before = await readTable(exec, GUARD_TABLE)
  if (!before.ok) return before
  if (before.content === undefined) return 'absent'
  const failure = await deleteTable(exec, GUARD_TABLE)
  if (failure !== undefined) return failure
  const after = await readTable(exec, GUARD_TABLE)
  if (!after.ok) return after
  if (after.content === undefined) return 'removed'
  return failed(`table ${GUARD_TABLE} came back: another guard runs on this node; end that one first`)
}

/**
 * Writes the table again as soon as a notification says that it is lost, without waiting for a reading that may just be
 * running: that takes a while on a node with tens of thousands of Services. `load` finds out whether it worked.
 */
function rewriting(exec: Exec) {
  let last: { readonly ruleset: string; readonly commands: string } | undefined
  let running: Promise<ExecResult> | undefined
  /** The last write since `take`, finished or not. */
  let done: Promise<ExecResult> | undefined
  let again = false
  let why: Heard
  const run = async (commands: string): Promise<ExecResult> => {
    again = false
    const result = await exec('nft', [commands])
    return again ? run(commands) : result
  }
  return {
    start: (heard: NonNullable<Heard>) => {
      why = heard
      again = true
      if (last === undefined) return
      running ??= run(last.commands).finally(() => {
        running = undefined
      })
      done = running
    },
    why: () => why,
    /** The write of this ruleset that is running, or that was started since the last call. */
    take: (ruleset: string): Promise<ExecResult> | undefined => {
      const written = last?.ruleset === ruleset ? done : undefined
      why = done = undefined
      return written
    },
    loaded: (ruleset: string) => {
      if (last?.ruleset !== ruleset) last = { ruleset, commands: tableCommands(ruleset).commands }
    },
  }
}

type Packets = Readonly<Record<string, number>>

/**
 * Packets since the last load. Loading into an existing table keeps its counters, while a table that has to be made
 * starts with new ones, which are then lower than what was read before.
 */
function sinceLoaded() {
  let last: Packets = {}
  let offset: Packets = {}
  const minus = (packets: Packets, others: Packets): Packets =>
    Object.fromEntries(COUNTERS.map((name) => [name, (packets[name] ?? 0) - (others[name] ?? 0)]))
  return {
    /**
     * Returns whether the counters are still the earlier ones.
     *
     * @param replaced counters of the table that was deleted, if one was
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
 * What the kernel's notifications say about our table, as lines (`netlinkLines`); the last line of a transaction is
 * `# new generation`. A transaction of ours removes all rules and adds them again.
 */
function monitoredTable(loaded: () => TableContent | undefined) {
  let heard: Heard
  let deleted = false
  let touched = false
  let added = 0
  const rulesLoaded = () => Object.values(loaded()?.shape.chains ?? {}).reduce((sum, rules) => sum + rules, 0)
  return {
    /** Whether this line ends a transaction that concerned us. To be called once for each line, in order. */
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
    /** The table is about to be loaded: earlier notifications no longer count. */
    expect: () => {
      heard = undefined
    },
    heard: () => heard,
  }
}
