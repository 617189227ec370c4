import type { Exec } from '../exec.ts'
import {
  type Chain,
  countPackets,
  difference,
  differingTables,
  removeInput,
  restoreInput,
} from '../iptables/chains.ts'
import { type Family, type Iptables, readSaved, restore, type Variant } from '../iptables/command.ts'
import type { SavedRules } from '../iptables/saved.ts'
import type { Backend, Compared, Failure } from './backend.ts'
import { iptablesEvents } from './iptables-events.ts'
import { GUARD_CHAINS, iptablesRules } from './iptables-rules.ts'

/** iptables-legacy tells nobody of changes: its rules are read back at least this often. */
const LEGACY_POLL_MS = 1000

export type IptablesOptions = {
  readonly exec: Exec
  readonly variant: Variant
  /** The families this kernel speaks. */
  readonly families: () => Promise<readonly Family[]>
  /** Whether this variant has tables at all; only asking iptables-legacy would make the kernel load them. */
  readonly inUse?: () => Promise<boolean>
}

/** The guard's rules in iptables, by one of its variants, for both families. */
export function iptablesBackend({ exec, variant, families, inUse }: IptablesOptions): Backend {
  const tools = async () =>
    (await families()).map((family): Iptables => ({ exec, variant, family, prefix: GUARD_CHAINS }))
  const sides = new Map<Family, Side>()

  return {
    name: `iptables-${variant}`,
    what: `the chains ${GUARD_CHAINS}* of iptables-${variant}`,
    load: async (rules) => {
      const results = (await tools()).map(async (tool) => {
        const chains = iptablesRules(rules, tool.family)
        const { found, before = {} } = sides.get(tool.family) ?? {}
        sides.set(tool.family, { chains, found: undefined, before })
        const side = await replace(tool, chains, found)
        if ('detail' in side) return side
        sides.set(tool.family, side)
        return undefined
      })
      return (await Promise.all(results)).find((failed) => failed !== undefined)
    },
    compare: async () => {
      const packets: Record<string, number> = {}
      let differs: Compared['differs']
      const found = new Map<Family, SavedRules>()
      const reads = (await tools()).map(async (tool) => ({ tool, read: await readSaved(tool) }))
      for (const { tool, read } of await Promise.all(reads)) {
        if (!read.ok) return { failed: read.detail }
        const { chains, before } = sides.get(tool.family) ?? NOTHING
        differs ??= difference(chains, read.saved)
        for (const [name, count] of Object.entries(countPackets(chains, read.saved)))
          packets[name] = (packets[name] ?? 0) + Math.max(0, count - (before[name] ?? 0))
        found.set(tool.family, read.saved)
      }
      for (const [family, side] of sides) sides.set(family, { ...side, found: differs && found.get(family) })
      return { packets, ...(differs === undefined ? {} : { differs }) }
    },
    remove: async () => {
      if (inUse !== undefined && !(await inUse())) return 'absent'
      let removed: 'absent' | 'removed' = 'absent'
      for (const tool of await tools()) {
        const result = await remove(tool)
        if (typeof result !== 'string')
          return inUse === undefined || !result.unusable ? result : { ...result, ...unseen(result.detail) }
        if (result === 'removed') removed = result
      }
      return removed
    },
    watched: () => (variant === 'nft' ? iptablesEvents(exec) : Promise.resolve(undefined)),
    ...(variant === 'legacy' ? { longestPoll: LEGACY_POLL_MS } : {}),
  }
}

/** Where the kernel has tables of iptables-legacy and this process cannot see them. */
const unseen = (why: string) =>
  ({
    detail: `iptables-legacy has tables on this node, which cannot be looked at, so that rules of an earlier guard may stand there (${why}); the chart gives NET_RAW with guard.mode=remove and with guard.backend=iptables`,
    mayStand: true,
  }) as const

/** What we know of one family. */
type Side = {
  readonly chains: readonly Chain[]
  /** What was found not to be as loaded: a repair begins with it instead of reading once more. */
  readonly found: SavedRules | undefined
  /** Packets that were counted before the last repair, of tables that it did not write. */
  readonly before: Readonly<Record<string, number>>
}

const NOTHING: Side = { chains: [], found: undefined, before: {} }

/** Writes: what differs from `found`; else, or where another changed our jumps since, all by what is read now. */
async function replace(
  tool: Iptables,
  chains: readonly Chain[],
  found: SavedRules | undefined,
): Promise<Side | Failure> {
  if (found !== undefined) {
    const tables = differingTables(chains, found)
    const kept = chains.filter(({ table }) => !tables.includes(table))
    const side = { chains, found: undefined, before: countPackets(kept, found) }
    if (tables.length === 0) return side
    const result = await restore(tool, restoreInput(chains, found, tables))
    if (result.ok) return side
    if (!result.raced) return result
  }
  for (let attempt = 1; ; attempt++) {
    const read = await readSaved(tool)
    if (!read.ok) return read
    const result = await restore(tool, restoreInput(chains, read.saved))
    if (result.ok) return { chains, found: undefined, before: {} }
    if (!result.raced || attempt === 2) return result
  }
}

async function remove(tool: Iptables): Promise<'absent' | 'removed' | Failure> {
  const before = await readSaved(tool)
  if (!before.ok) return before
  const input = removeInput(before.saved)
  if (input === '') return 'absent'
  const result = await restore(tool, input)
  if (!result.ok) return result
  const after = await readSaved(tool)
  if (!after.ok) return after
  if (after.saved.chains.size === 0) return 'removed'
  const detail = `the chains ${tool.prefix}* of iptables-${tool.variant} came back: another guard runs on this node; end that one first`
  return { detail, unusable: false }
}
