import type { Failure } from '../process/failure.ts'
import type { IptablesTable, Place } from '../rules/iptables.ts'
import { command, failure, type Iptables } from './command.ts'
import { type ChainListing, listInput, parseListings, relevantListedLines, savedOf } from './listings.ts'
import { mergeSaved, parseSaved, relevantLines, type SavedRules } from './saved.ts'

export type Read = { readonly ok: true; readonly saved: SavedRules } | Failure

/** Reads what concerns us in all existing tables, regardless of their size: for a pod, which has its own tables. */
export async function readSaved(tool: Iptables): Promise<Read> {
  return save(tool, ['-c'])
}

/**
 * Reads what concerns us in some tables of iptables-legacy; the kernel returns whole tables. Needs no lock.
 */
export async function readTables(tool: Iptables, tables: readonly IptablesTable[]): Promise<Read> {
  return mergeReads(await Promise.all(tables.map((table) => save(tool, ['-c', '-t', table]))))
}

/**
 * Reads what concerns us in whole tables of iptables-nft, without counters. Unlike iptables-nft-save it does not load the
 * other tables.
 */
export async function readWholeTables(tool: Iptables, tables: readonly IptablesTable[]): Promise<Read> {
  const { exec, prefix } = tool
  const reads = tables.map(async (table): Promise<Read> => {
    const keepLine = relevantLines(prefix)
    const result = await exec(command(tool), ['-t', table, '-S'], { keepLine })
    return result.code === 0
      ? { ok: true, saved: parseSaved(`*${table}\n${result.stdout}`, prefix) }
      : failure(tool, result)
  })
  return mergeReads(await Promise.all(reads))
}

/** The message for a chain that does not exist, or in which another program has put what iptables cannot read. */
const NOT_THERE = /no chain\/target\/match by that name|chain `[^']+' in table `[^']+' is incompatible/i

/**
 * Reads chains of iptables-nft by name, so that the number of other rules does not matter. Where a chain of ours is
 * missing, the rest of its table is not read, nor are our chains in tables where no built-in chain jumps to them: these
 * tables have to be written anyway.
 *
 * @param hooks built-in chains
 * @param own chains of ours
 */
export async function readChains(
  tool: Iptables,
  hooks: readonly Place[],
  own: readonly Place[],
): Promise<Read> {
  const { exec, prefix, precedingJump } = tool
  const listed: ChainListing[] = []
  let places = [...hooks, ...own]
  while (places.length > 0) {
    const result = await exec(command(tool, 'restore'), ['--noflush'], {
      input: listInput(places),
      keepLine: relevantListedLines(prefix, precedingJump),
    })
    const read = parseListings(result.stdout, places)
    listed.push(...read)
    if (result.code === 0 && read.length === places.length) break
    const missing = places[read.length]
    if (missing === undefined || !own.includes(missing) || !NOT_THERE.test(result.stderr))
      return failure(tool, result)
    const { jumps } = savedOf(listed, prefix)
    const leads = (place: Place) => jumps.some(({ table }) => table === place.table)
    places = places.slice(read.length).filter((place) => place.table !== missing.table && leads(place))
  }
  return { ok: true, saved: savedOf(listed, prefix, precedingJump) }
}

async function save(tool: Iptables, args: readonly string[]): Promise<Read> {
  const { exec, prefix } = tool
  const result = await exec(command(tool, 'save'), args, { keepLine: relevantLines(prefix) })
  return result.code === 0 ? { ok: true, saved: parseSaved(result.stdout, prefix) } : failure(tool, result)
}

/** Merges these readings, or returns the first failure. */
export function mergeReads(reads: readonly Read[]): Read {
  const saved: SavedRules[] = []
  for (const read of reads) {
    if (!read.ok) return read
    saved.push(read.saved)
  }
  return { ok: true, saved: mergeSaved(saved) }
}
