import { systemClock } from '../../../common/clock.ts'
import { bounded } from '../process/bounded.ts'
import type { Exec } from '../process/exec.ts'
import type { Family, IptablesTable } from '../rules/iptables.ts'
import { type Iptables, restore } from './command.ts'
import { type Read, readTables } from './reading.ts'
import { mergeSaved, type SavedRules } from './saved.ts'

/**
 * The kernel reads and replaces tables of iptables-legacy as a whole, and charges the memory of a table to the process
 * that replaced it. A table of this size, as iptables-save prints it, costs some 9 MB while it is written and 3 MB
 * afterwards: that of 350 Services.
 */
const MAX_LENGTH = 400_000
/** It is read back only this often: its canary detects a flush, and losing its rules opens nothing. */
const READ_EVERY_MS = 60_000

/** The nat table of iptables-legacy, which is touched only if it is small. */
export type LegacyNat = ReturnType<typeof createLegacyNat>

const NOTHING: SavedRules = mergeSaved([])

/** @param now milliseconds, monotonic */
export function createLegacyNat(now = systemClock.monotonic) {
  const known = new Map<Family, { readonly saved: SavedRules; readonly at: number }>()
  const tooBig = new Set<Family>()
  return {
    /** Whether it is too big to be read or changed: then there are no pins, or those in an earlier, smaller table are not read. */
    isTooBig: (family: Family) => tooBig.has(family),
    /** Reads it, unless it was read within the last minute and not written since; nothing of a table that is too big. */
    read: async (tool: Iptables): Promise<Read> => {
      const { family } = tool
      const last = known.get(family)
      if (tooBig.has(family)) return { ok: true, saved: NOTHING }
      if (last !== undefined && now() - last.at < READ_EVERY_MS) return { ok: true, saved: last.saved }
      const { read, isLarge } = await readBounded(tool)
      // The machine may be too busy at the moment.
      if (!read.ok && !read.tooBig) return last === undefined ? read : { ok: true, saved: last.saved }
      if (isLarge) tooBig.add(family)
      const saved = read.ok && !isLarge ? read.saved : NOTHING
      known.set(family, { saved, at: now() })
      return { ok: true, saved }
    },
    /** Discards what was read if nat is among these tables, which are known to have lost rules. */
    forgetLost: (family: Family, tables: readonly IptablesTable[]) => {
      if (tables.includes('nat')) known.delete(family)
    },
    restore: (tool: Iptables, input: string) => {
      known.delete(tool.family)
      return restore({ ...tool, exec: bounded(tool.exec) }, input)
    },
  }
}

async function readBounded(tool: Iptables): Promise<{ readonly read: Read; readonly isLarge: boolean }> {
  let size = 0
  const counting: Exec = (command, args, options) => {
    const keepLine = (line: string) => {
      size += line.length
      return options?.keepLine?.(line) ?? true
    }
    return tool.exec(command, args, { ...options, keepLine })
  }
  const read = await readTables({ ...tool, exec: bounded(counting) }, ['nat'])
  return { read, isLarge: size > MAX_LENGTH || !read.ok }
}
