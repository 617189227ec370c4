import type { Compared } from '../backend/backend.ts'
import type { Failure } from '../process/failure.ts'
import type { GuardRuleset } from '../rules/guard.ts'
import { iptablesRules } from '../rules/guard-iptables.ts'
import type { Chain, Family } from '../rules/iptables.ts'
import type { Canaries } from './canaries.ts'
import { countPackets, difference } from './chains.ts'
import type { Iptables } from './command.ts'
import type { LostTables } from './events.ts'
import { type SavedRules, withoutTables } from './saved.ts'
import type { TableAccess } from './table-access.ts'
import { WRITE_GROUPS, type Write, writeGroups } from './write.ts'

/** What is known about one family. */
type FamilyState = {
  readonly chains: readonly Chain[]
  /** What was read since the last write; a repair starts from it instead of reading again. */
  readonly seen: SavedRules | undefined
  /** Whether the rules of any family were not as loaded. */
  readonly differs: boolean
  /** Packets counted before the last repair, in tables that it did not write. */
  readonly before: Readonly<Record<string, number>>
}

const NOTHING: FamilyState = { chains: [], seen: undefined, differs: false, before: {} }

type GuardChainsOptions = {
  /** One for each family that this kernel has. */
  readonly tools: () => Promise<readonly Iptables[]>
  readonly access: TableAccess
  readonly canaries: Canaries | undefined
  readonly lost: LostTables
}

/** Writes and compares the guard's chains of all families, and remembers what was last read of them. */
export function createGuardChains(options: GuardChainsOptions) {
  const sides = new Map<Family, FamilyState>()
  return {
    write: (rules: GuardRuleset) => write(options, sides, rules),
    compare: () => compare(options, sides),
  }
}

async function write(
  options: GuardChainsOptions,
  sides: Map<Family, FamilyState>,
  rules: GuardRuleset,
): Promise<Failure | undefined> {
  const { tools, access, lost } = options
  const all = await tools()
  const lostTables = new Map(all.map(({ family }) => [family, lost.of(family)] as const))
  const repairs = lost.any()
  lost.forget()
  const writes = all.map((tool): Write => {
    const { family } = tool
    const chains = chainsOf(options, rules, family)
    const { seen, differs = false, before } = sides.get(family) ?? NOTHING
    sides.set(family, { ...NOTHING, chains, before })
    const known = differs || repairs ? seen && withoutTables(seen, lostTables.get(family) ?? []) : undefined
    return { tool, chains, known, written: [] }
  })
  const result = await writeGroups(access, writes)
  if (!result.ok) return result
  for (const { tool, known, written } of result.writes) {
    // The nat table may have been found too large in the meantime.
    const chains = chainsOf(options, rules, tool.family)
    const kept = chains.filter(({ table }) => !written.includes(table))
    const before = known === undefined ? {} : countPackets(kept, known)
    sides.set(tool.family, { ...NOTHING, chains, before })
  }
  return undefined
}

async function compare(
  { tools, access, canaries, lost }: GuardChainsOptions,
  sides: Map<Family, FamilyState>,
): Promise<Compared> {
  const all = await tools()
  for (const { family } of all) access.forgetLost(family, lost.of(family))
  lost.forget()
  const packets: Record<string, number> = {}
  let differs: Compared['differs']
  const found = new Map<Family, SavedRules>()
  const reads = all.map(async (tool) => ({
    tool,
    result: await access.read(tool, WRITE_GROUPS.flat()),
  }))
  for (const { tool, result } of await Promise.all(reads)) {
    if (!result.ok) return { failed: result.detail }
    const { chains: loaded, before } = sides.get(tool.family) ?? NOTHING
    const chains = withoutSkipped(access, loaded, tool.family)
    differs ??= difference(chains, result.saved)
    for (const [name, count] of Object.entries(countPackets(chains, result.saved)))
      packets[name] = (packets[name] ?? 0) + Math.max(0, count - (before[name] ?? 0))
    found.set(tool.family, result.saved)
  }
  for (const [family, side] of sides)
    sides.set(family, { ...side, seen: found.get(family), differs: differs !== undefined })
  if (differs === undefined) canaries?.expect()
  return { packets, ...(differs === undefined ? {} : { differs }) }
}

/** The chains of these rules, with canaries, as far as this kernel can have them. */
function chainsOf({ access, canaries }: GuardChainsOptions, rules: GuardRuleset, family: Family) {
  const kept = withoutSkipped(access, iptablesRules(rules, family), family)
  return canaries?.add(kept, family) ?? kept
}

const withoutSkipped = (access: TableAccess, chains: readonly Chain[], family: Family) =>
  access.skipsNat(family) ? chains.filter(({ table }) => table !== 'nat') : chains
