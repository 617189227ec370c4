import type { Exec } from '../exec.ts'
import { deleteTable, loadTable, readTable } from '../nft-table.ts'
import type { TableContent } from '../table-content.ts'
import type { Backend, Compared } from './backend.ts'
import { GUARD_TABLE, type GuardRuleset, guardRuleset } from './ruleset.ts'

/** What the table is for. */
export type TableUse = {
  readonly ruleset: (rules: GuardRuleset) => string
  /** It was loaded: its counts begin anew. */
  readonly loaded?: () => void
  /** It was read, changed by somebody or not. */
  readonly read?: (content: TableContent) => void
}

/** The guard's rules as a table of their own in nf_tables. */
export function nftBackend(exec: Exec, use: TableUse = { ruleset: guardRuleset }): Backend {
  let loadedText: string | undefined
  const monitored = monitoredTable()

  const compare = async (): Promise<Compared> => {
    const seen = await readTable(exec, GUARD_TABLE)
    if (!seen.ok) return { failed: seen.detail }
    if (seen.content === undefined) return { differs: 'is gone' }
    use.read?.(seen.content)
    const { text, packets } = seen.content
    return text === loadedText ? { packets } : { differs: 'was changed', packets }
  }

  return {
    name: 'nft',
    what: `table ${GUARD_TABLE}`,
    load: async (rules) => {
      monitored.expect()
      const result = await loadTable(exec, use.ruleset(rules))
      if (!result.ok) return result
      loadedText = result.loaded.text
      use.loaded?.()
      return undefined
    },
    compare,
    isGone: monitored.isGone,
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
    watched: async () => ({
      command: 'nft',
      args: ['monitor'],
      matches: monitored.hear,
    }),
  }
}

/**
 * What the lines of `nft monitor` say of our table. Each transaction ends with a comment, `# new generation …`; one of
 * ours deletes the table and adds it again. A monitor that ended and runs again knows of nothing gone, and is followed
 * by a look (`unseen`).
 */
function monitoredTable() {
  let gone = false
  let deleted: boolean | undefined
  return {
    /** Whether a line is about us; each is heard once, in order. */
    hear: (line: string): boolean => {
      if (line === `delete table ${GUARD_TABLE}`) deleted = true
      else if (line === `add table ${GUARD_TABLE}`) deleted = false
      else if (deleted !== undefined && line.startsWith('# new generation')) {
        gone = deleted
        deleted = undefined
        return true
      }
      return line.includes(GUARD_TABLE)
    },
    /** It is about to be loaded. What is heard of before counts no more. */
    expect: () => {
      gone = false
    },
    isGone: () => gone,
  }
}
