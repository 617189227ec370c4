import type { Failure } from '../process/failure.ts'
import type { Chain, IptablesTable } from '../rules/iptables.ts'
import { differingTables, restoreInput } from './chains.ts'
import type { Iptables } from './command.ts'
import type { SavedRules } from './saved.ts'
import type { TableAccess } from './table-access.ts'

/**
 * The groups of tables, written one after the other, each for both families at once: first what refuses, then the pins. When a rule is added to nat, the
 * kernel checks that whole table, with all rules of kube-proxy: 0.3 s at 20,000 Services, for which all of nf_tables waits.
 */
export const WRITE_GROUPS: readonly (readonly IptablesTable[])[] = [['mangle', 'filter'], ['nat']]

/** What is to be written for one family. */
export type Write = {
  readonly tool: Iptables
  readonly chains: readonly Chain[]
  /** What is in the kernel, as far as is known; undefined if that is unknown. */
  readonly known: SavedRules | undefined
  /** The tables that were written so far. */
  readonly written: readonly IptablesTable[]
}

/** Writes every group of tables, one after the other, for all families. Returns what was written, or the first failure. */
export async function writeGroups(
  kernel: TableAccess,
  writes: readonly Write[],
): Promise<{ readonly ok: true; readonly writes: readonly Write[] } | Failure> {
  let all = writes
  for (const tables of WRITE_GROUPS) {
    const results = await Promise.all(all.map((one) => writeTables(kernel, one, tables)))
    const failed = results.find((result) => !result.ok)
    if (failed !== undefined) return failed
    all = results.filter((result) => result.ok)
  }
  return { ok: true, writes: all }
}

/**
 * Writes those of these tables that differ from what is known. If nothing is known, or our jumps were changed since, it reads first.
 *
 * @returns the write, with the tables that were written added
 */
async function writeTables(
  kernel: TableAccess,
  write: Write,
  tables: readonly IptablesTable[],
): Promise<(Write & { readonly ok: true }) | Failure> {
  const { tool, chains, known, written } = write
  if (known !== undefined) {
    const differing = differingTables(chains, known).filter((table) => tables.includes(table))
    if (differing.length === 0) return { ok: true, ...write }
    const result = await kernel.restore(tool, restoreInput(chains, known, differing), differing)
    if (result.ok) return { ok: true, ...write, written: [...written, ...differing] }
    if (!result.raced) return result
  }
  for (let attempt = 1; ; attempt++) {
    const now = await kernel.read(tool, tables)
    if (!now.ok) return now
    // In nat nothing is counted and a transaction costs most, so it is written only if it differs.
    const differing = differingTables(chains, now.saved)
    const due = tables.filter(
      (table) => table !== 'nat' || (differing.includes(table) && !kernel.skipsNat(tool.family)),
    )
    const input = restoreInput(chains, now.saved, due)
    if (input === '') return { ok: true, ...write }
    const result = await kernel.restore(tool, input, due)
    if (result.ok) return { ok: true, ...write, written: [...written, ...tables] }
    if (!result.raced || attempt === 2) return result
  }
}
