import { failed } from '../../../common/result.ts'
import type { Backend, Compared } from '../backend/backend.ts'
import type { Exec, ExecResult } from '../process/exec.ts'
import { COUNTERS, type GuardRuleset } from '../rules/guard.ts'
import { GUARD_TABLE, guardRuleset } from '../rules/guard-nft.ts'
import { tableCommands } from './commands.ts'
import { ruleEvents } from './rule-events.ts'
import { deleteTable, loadTable, readTable } from './table.ts'
import type { TableContent } from './table-content.ts'

type ReportedChange = 'is gone' | 'was changed' | undefined

/** What a backend loads into its table, and which callbacks receive its content. */
type TableUse = {
  readonly ruleset: (rules: GuardRuleset) => string
  /** Called when the table was created anew, so that its counters start at zero. */
  readonly restarted?: () => void
  /** Called with each reading of the table, whether it was changed or not. */
  readonly read?: (content: TableContent) => void
}

/** The guard's rules as a separate table in nf_tables. */
export function nftBackend(exec: Exec, use: TableUse = { ruleset: guardRuleset }): Backend {
  let loaded: TableContent | undefined
  /** The content of the table after this ruleset was loaded without interference. */
  let known: { readonly ruleset: string; readonly content: TableContent } | undefined
  /** What the last load read back, so that the next comparison need not read it again. */
  let justRead: TableContent | undefined
  const counts = sinceLoaded()
  const monitored = monitoredTable(() => loaded)
  const rewrite = immediateRewrite(exec)
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
      const result = await loadTable(exec, ruleset, rewrite.take(ruleset))
      if (!result.ok) return result
      rewrite.loaded(ruleset)
      justRead = result.loaded
      if (known?.ruleset !== ruleset) known = result.loaded && { ruleset, content: result.loaded }
      loaded = known?.content
      if (result.replaced !== undefined) use.read?.(result.replaced)
      if (!counts.loaded(result.loaded?.packets ?? {}, result.replaced?.packets)) use.restarted?.()
      return undefined
    },
    compare,
    reportedChange: () => rewrite.why() ?? monitored.reportedChange(),
    remove: () => removeTable(exec),
    monitor: async () => {
      const matches = (line: string) => {
        if (!monitored.handle(line)) return false
        const change = monitored.reportedChange()
        if (change !== undefined) rewrite.start(change)
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
 * Writes the table again as soon as a notification reports that it was deleted or changed, without waiting for a comparison that may
 * be running: that takes a while on a node with tens of thousands of Services. `load` determines whether the write succeeded.
 */
function immediateRewrite(exec: Exec) {
  let last: { readonly ruleset: string; readonly commands: string } | undefined
  let running: Promise<ExecResult> | undefined
  /** The last write since `take`, finished or not. */
  let done: Promise<ExecResult> | undefined
  let again = false
  let why: ReportedChange
  const run = async (commands: string): Promise<ExecResult> => {
    again = false
    const result = await exec('nft', [commands])
    return again ? run(commands) : result
  }
  return {
    start: (change: NonNullable<ReportedChange>) => {
      why = change
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
 * Counts packets since the last load. Loading into an existing table keeps its counters, while a table that has to be created
 * starts with new ones, which are then lower than what was read before.
 */
function sinceLoaded() {
  let last: Packets = {}
  let offset: Packets = {}
  const minus = (packets: Packets, others: Packets): Packets =>
    Object.fromEntries(COUNTERS.map((name) => [name, (packets[name] ?? 0) - (others[name] ?? 0)]))
  return {
    /**
     * To be called after a load. Returns whether the counters are still the earlier ones.
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
 * What the kernel's notifications report about our table. They come as lines (`netlinkLines`); the last line of a transaction is
 * `# new generation`. A transaction of ours removes all rules and adds them again.
 */
function monitoredTable(loaded: () => TableContent | undefined) {
  let change: ReportedChange
  let deleted = false
  let touched = false
  let added = 0
  const rulesLoaded = () => Object.values(loaded()?.shape.chains ?? {}).reduce((sum, rules) => sum + rules, 0)
  return {
    /** Takes a line; returns whether it ends a transaction about our table. To be called once for each line, in order. */
    handle: (line: string): boolean => {
      if (line.startsWith('# new generation')) {
        if (!touched) return false
        const whole = added > 0 && added >= rulesLoaded()
        change = deleted ? 'is gone' : whole ? undefined : 'was changed'
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
      change = undefined
    },
    reportedChange: () => change,
  }
}
