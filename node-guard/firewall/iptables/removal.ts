import type { Failure } from '../guard/backend.ts'
import { bounded } from '../process/bounded.ts'
import { GUARD_PLACES } from '../rules/guard-iptables.ts'
import { removeInput } from './chains.ts'
import { command, type Family, type Iptables, restore } from './command.ts'
import type { Place } from './listed.ts'
import { type Read, readChains, readTables, readTogether, readWholeTables } from './reading.ts'
import { type IptablesTable, together } from './saved.ts'

/** Tables that stay small beside kube-proxy. */
const SMALL: readonly IptablesTable[] = ['mangle', 'filter']

/** What can be known of iptables-legacy without asking it. */
export type LegacyNode = {
  /** Its tables. Asking for one that is not there would make the kernel load it. */
  readonly tables: (family: Family) => Promise<readonly string[]>
  /** An earlier guard left its canary, and so its pin, in nat. */
  readonly hasPin: (family: Family) => Promise<boolean>
}

/** Removes all chains of ours and every jump to them, by one variant and family, and looks that they are gone. */
export async function removeChains(
  tool: Iptables,
  legacy: LegacyNode | undefined,
): Promise<'absent' | 'removed' | Failure> {
  const before = await readAll(tool, legacy)
  if (!before.ok) return before
  const input = removeInput(before.saved)
  if (input === '') return 'absent'
  const result = await restore(tool, input)
  if (!result.ok) return result
  const after = await readAll(tool, legacy)
  if (!after.ok) return after
  if (after.saved.chains.size === 0) return 'removed'
  const detail = `the chains ${tool.prefix}* of iptables-${tool.variant} came back: another guard runs on this node; end that one first`
  return { detail, unusable: false }
}

/** Small tables whole, so that chains and jumps are found whose names nobody knows any more. */
async function readAll(tool: Iptables, legacy: LegacyNode | undefined): Promise<Read> {
  if (tool.variant === 'nft') return readTogether([await readWholeTables(tool, SMALL), await readNat(tool)])
  const there = (await legacy?.tables(tool.family)) ?? [...SMALL, 'nat']
  const small = await readTables(
    tool,
    SMALL.filter((table) => there.includes(table)),
  )
  return there.includes('nat') ? readTogether([small, await readLegacyNat(tool, legacy)]) : small
}

const inNat = (places: readonly Place[]) => places.filter(({ table }) => table === 'nat')
const readNat = (tool: Iptables) => readChains(tool, inNat(GUARD_PLACES.hooks), inNat(GUARD_PLACES.own))

/** Guards of today leave that table alone; where it is too big to be read, an earlier one's canary tells. */
async function readLegacyNat(tool: Iptables, legacy: LegacyNode | undefined): Promise<Read> {
  const read = await readTables({ ...tool, exec: bounded(tool.exec) }, ['nat'])
  if (read.ok || !read.tooBig) return read
  if (!(await legacy?.hasPin(tool.family))) return { ok: true, saved: together([]) }
  const name = command(tool)
  return {
    ok: false,
    unusable: false,
    detail: `the chains ${tool.prefix}PIN* of an earlier guard stand in the nat table of ${name}, which is too big for this container to change: on the node, delete their lines from what ${name}-save -t nat prints, and load the rest with ${name}-restore -T nat`,
  }
}
