import { failed } from '../../../common/result.ts'
import { bounded } from '../process/bounded.ts'
import type { Failure } from '../process/failure.ts'
import { GUARD_PLACES } from '../rules/guard-iptables.ts'
import type { Family, IptablesTable, Place } from '../rules/iptables.ts'
import { removeInput } from './chains.ts'
import { command, type Iptables, restore } from './command.ts'
import { mergeReads, type Read, readChains, readTables, readWholeTables } from './reading.ts'
import { mergeSaved } from './saved.ts'

/** Tables that stay small, however many Services kube-proxy has. */
const SMALL: readonly IptablesTable[] = ['mangle', 'filter']

/** What can be learned about iptables-legacy without running it. */
export type LegacyNode = {
  /** The tables that are loaded. Listing any other would make the kernel load it. */
  readonly tables: (family: Family) => Promise<readonly string[]>
  /** Whether the canary of an earlier guard, and so its pin, is in nat. */
  readonly hasPin: (family: Family) => Promise<boolean>
}

/** Removes our chains of one variant, for all families. */
export async function removeFamilies(
  tools: readonly Iptables[],
  legacy: LegacyNode | undefined,
): Promise<'absent' | 'removed' | Failure> {
  const used = async ({ family }: Iptables) => (await legacy?.tables(family))?.length !== 0
  if (!(await Promise.all(tools.map(used))).includes(true)) return 'absent'
  let removed: 'absent' | 'removed' = 'absent'
  for (const tool of tools) {
    const result = await removeChains(tool, legacy)
    if (typeof result !== 'string')
      return legacy === undefined || !result.unusable ? result : { ...result, ...unreadable(result.detail) }
    if (result === 'removed') removed = result
  }
  return removed
}

/** The kernel has tables of iptables-legacy, and this process cannot read them. */
const unreadable = (why: string) =>
  ({
    detail: `iptables-legacy has tables on this node that cannot be read, so they may contain rules of an earlier guard (${why}); the chart gives NET_RAW with guard.mode=remove and with guard.backend=iptables`,
    mayRemain: true,
  }) as const

/** Removes our chains and all jumps to them, of one variant and family, and checks that they are gone. */
async function removeChains(
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
  return failed(
    `the chains ${tool.prefix}* of iptables-${tool.variant} came back: another guard runs on this node; end that one first`,
  )
}

/** Reads small tables completely, so that chains and jumps of any release are found. */
async function readAll(tool: Iptables, legacy: LegacyNode | undefined): Promise<Read> {
  if (tool.variant === 'nft') return mergeReads([await readWholeTables(tool, SMALL), await readNat(tool)])
  const there = (await legacy?.tables(tool.family)) ?? [...SMALL, 'nat']
  const small = await readTables(
    tool,
    SMALL.filter((table) => there.includes(table)),
  )
  return there.includes('nat') ? mergeReads([small, await readLegacyNat(tool, legacy)]) : small
}

const inNat = (places: readonly Place[]) => places.filter(({ table }) => table === 'nat')
const readNat = (tool: Iptables) => readChains(tool, inNat(GUARD_PLACES.hooks), inNat(GUARD_PLACES.own))

/** Reads nat of iptables-legacy. A guard of this release does not touch a large table; if it cannot be read, the canary of an earlier guard reveals whether its pin is there. */
async function readLegacyNat(tool: Iptables, legacy: LegacyNode | undefined): Promise<Read> {
  const read = await readTables({ ...tool, exec: bounded(tool.exec) }, ['nat'])
  if (read.ok || !read.tooBig) return read
  if (!(await legacy?.hasPin(tool.family))) return { ok: true, saved: mergeSaved([]) }
  const name = command(tool)
  return failed(
    `the chains ${tool.prefix}PIN* of an earlier guard are in the nat table of ${name}, which is too large for this container to change: on the node, delete their lines from the output of ${name}-save -t nat, and load the rest with ${name}-restore -T nat`,
  )
}
