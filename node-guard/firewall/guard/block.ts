import type { Logger } from '../../../common/log.ts'
import type { Exec } from '../exec.ts'
import { loadTable, readTable } from '../nft-table.ts'
import { COUNTERS, type CounterName, GUARD_TABLE, guardRuleset } from './ruleset.ts'

/** What made us look. `uplinks`: the default routes changed; `monitor`: events were missed while it was away. */
export const CAUSES = ['start', 'event', 'poll', 'monitor', 'uplinks'] as const
export type Cause = (typeof CAUSES)[number]

export type BlockState = {
  /** The kernel holds exactly the rules we loaded, as last read back. */
  readonly verified: boolean
  /** When that was last looked at, milliseconds; undefined before the first time. */
  readonly checkedAt: number | undefined
  /** One sentence where `verified` is false. */
  readonly detail: string | undefined
  /** Packets by counter since this process started. */
  readonly packets: Readonly<Record<CounterName, number>>
  /** How often somebody else's change was undone, by what made us look. */
  readonly repairs: Readonly<Record<Cause, number>>
}

export const NO_PACKETS: BlockState['packets'] = zero(COUNTERS)
export const NO_REPAIRS: BlockState['repairs'] = zero(CAUSES)

export type BlockOptions = {
  readonly metadata: readonly string[]
  readonly broker: readonly string[]
  readonly exec: Exec
  readonly readUplinks: () => Promise<readonly string[]>
  /** Milliseconds. */
  readonly now: () => number
  readonly log: Logger
}

export type Block = { readonly check: (cause: Cause) => Promise<void>; readonly state: () => BlockState }

/**
 * Keeps the guard's table as it should be. `check` reads it back, loads it again where it differs, and reads it back
 * again; it never throws. Not to be called while it runs (see `singleFlight`).
 */
export function createBlock({ metadata, broker, exec, readUplinks, now, log }: BlockOptions): Block {
  const packets = { ...NO_PACKETS }
  const repairs = { ...NO_REPAIRS }
  let counted: Readonly<Record<string, number>> = {}
  let wanted: { readonly ruleset: string; readonly text: string } | undefined
  let verdict: Pick<BlockState, 'verified' | 'checkedAt' | 'detail'> = {
    verified: false,
    checkedAt: undefined,
    detail: 'the rules have not been loaded yet',
  }

  const conclude = (detail: string | undefined) => {
    if (detail !== undefined && detail !== verdict.detail) log.error('block not verified', { detail })
    if (detail === undefined && !verdict.verified) log.info('block verified', { table: GUARD_TABLE })
    verdict = { verified: detail === undefined, checkedAt: now(), detail }
  }

  /** Counters restart with every load; ours go on. */
  const count = (read: Readonly<Record<string, number>>) => {
    for (const name of COUNTERS) {
      const value = read[name] ?? 0
      const before = counted[name] ?? 0
      packets[name] += value >= before ? value - before : value
    }
    counted = read
  }

  /** Whether the kernel holds what is wanted: undefined, or how it differs. */
  const compare = async (): Promise<{ failed?: string; differs?: 'is gone' | 'was changed' }> => {
    const seen = await readTable(exec, GUARD_TABLE)
    if (!seen.ok) return { failed: seen.detail }
    if (seen.content === undefined) return { differs: 'is gone' }
    count(seen.content.packets)
    return seen.content.text === wanted?.text ? {} : { differs: 'was changed' }
  }

  const load = async (ruleset: string): Promise<string | undefined> => {
    const result = await loadTable(exec, ruleset)
    if (!result.ok) return result.detail
    wanted = { ruleset, text: result.loaded.text }
    counted = {}
    const { failed, differs } = await compare()
    if (differs === undefined) return failed
    return `table ${GUARD_TABLE} ${differs} right after it was loaded: find what else changes nftables on this node (nft monitor)`
  }

  const check = async (cause: Cause) => {
    const ruleset = guardRuleset({ metadata, broker, uplinks: await readUplinks() })
    if (wanted?.ruleset === ruleset) {
      const { failed, differs } = await compare()
      if (differs === undefined) return conclude(failed)
      repairs[cause]++
      log.warn('rules repaired', { table: GUARD_TABLE, found: differs, cause })
    }
    conclude(await load(ruleset))
  }

  return { check, state: () => ({ ...verdict, packets: { ...packets }, repairs: { ...repairs } }) }
}

function zero<const K extends string>(keys: readonly K[]): Record<K, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>
}
