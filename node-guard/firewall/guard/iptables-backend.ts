import type { Exec } from '../exec.ts'
import { type Chain, countPackets, difference, removeInput, restoreInput } from '../iptables/chains.ts'
import { type Family, type Iptables, readSaved, restore, type Variant } from '../iptables/command.ts'
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
  const wanted = new Map<Family, readonly Chain[]>()

  return {
    name: `iptables-${variant}`,
    what: `the chains ${GUARD_CHAINS}* of iptables-${variant}`,
    load: async (rules) => {
      const results = (await tools()).map((tool) => {
        const chains = iptablesRules(rules, tool.family)
        wanted.set(tool.family, chains)
        return replace(tool, chains)
      })
      return (await Promise.all(results)).find((failed) => failed !== undefined)
    },
    compare: async () => compare(await tools(), wanted),
    remove: async () => {
      if (inUse !== undefined && !(await inUse())) return 'absent'
      let removed: 'absent' | 'removed' = 'absent'
      for (const tool of await tools()) {
        const result = await remove(tool)
        if (typeof result !== 'string') return result
        if (result === 'removed') removed = result
      }
      return removed
    },
    watched: () => (variant === 'nft' ? iptablesEvents(exec) : Promise.resolve(undefined)),
    ...(variant === 'legacy' ? { longestPoll: LEGACY_POLL_MS } : {}),
  }
}

/** Reads and writes, once more where another changed our jumps in between. */
async function replace(tool: Iptables, chains: readonly Chain[]): Promise<Failure | undefined> {
  for (let attempt = 1; ; attempt++) {
    const read = await readSaved(tool)
    if (!read.ok) return read
    const result = await restore(tool, restoreInput(chains, read.saved))
    if (result.ok) return undefined
    if (!result.raced || attempt === 2) return result
  }
}

async function compare(
  tools: readonly Iptables[],
  wanted: ReadonlyMap<Family, readonly Chain[]>,
): Promise<Compared> {
  const packets: Record<string, number> = {}
  const differences: Compared['differs'][] = []
  const readings = tools.map(async (tool) => ({ tool, read: await readSaved(tool) }))
  for (const { tool, read } of await Promise.all(readings)) {
    if (!read.ok) return { failed: read.detail }
    const chains = wanted.get(tool.family) ?? []
    differences.push(difference(chains, read.saved))
    for (const [name, count] of Object.entries(countPackets(chains, read.saved)))
      packets[name] = (packets[name] ?? 0) + count
  }
  const differs = differences.find((found) => found !== undefined)
  return { packets, ...(differs === undefined ? {} : { differs }) }
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
