import { failed } from '../../../common/result.ts'
import { countPackets, difference, removeInput, restoreInput } from '../iptables/chains.ts'
import { type Iptables, restore } from '../iptables/command.ts'
import { legacyTables, NODE_FILES } from '../iptables/node-files.ts'
import { type Read, readChains, readTables } from '../iptables/reading.ts'
import type { Exec } from '../process/exec.ts'
import { type Failure, unusable } from '../process/failure.ts'
import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import { type HostNetworkRuleset, PROOF_COUNTER } from '../rules/host-network.ts'
import {
  admittingChains,
  cgroupOf,
  HOST_CHAIN_NAMES,
  HOST_CHAINS,
  HOST_TABLE,
  hostNetworkChains,
} from '../rules/host-network-iptables.ts'
import type { Chain, Family, Variant } from '../rules/iptables.ts'
import type { HostNetworkBackend, HostPackets } from './backend.ts'
import { cgroupId } from './cgroups.ts'

/** iptables-legacy has no notifications. */
const LEGACY_READ_MS = 1000
const HOOKS = ['OUTPUT', 'INPUT'] as const
const NFT_LINE = new RegExp(
  `\\b(?:rule|chain) ip6? filter (?:(?:IN|OUT)PUT\\b|${HOST_CHAINS})|table ip6? filter\\b`,
)

type Options = {
  readonly exec: Exec
  readonly variant: Variant
  /** The address families of this kernel. */
  readonly families: () => Promise<readonly Family[]>
  readonly lockFile?: string | undefined
}

/** The backend that keeps the rules about pods on the host network in iptables, by one of its variants, for both families. */
export function iptablesHostNetwork(options: Options): HostNetworkBackend {
  const { variant, families } = options
  const tool = (family: Family) => toolFor(options, family)
  const loaded = new Map<Family, readonly Chain[]>()

  return {
    name: `iptables-${variant}`,
    what: `the chains ${HOST_CHAINS}* of iptables-${variant}`,
    load: async (rules) => {
      const before: HostPackets[] = []
      for (const family of await families()) {
        const written = await write(tool(family), rules, loaded)
        if (!written.ok) return written
        before.push(written.before)
      }
      const sum = sumOf(before)
      return { ok: true, before: sum, packets: { ...sum, [PROOF_COUNTER]: 0 } }
    },
    read: async () => {
      const packets: HostPackets[] = []
      let differs = false
      for (const family of await families()) {
        const read = await readOurs(tool(family))
        if (!read.ok) return read
        const chains = loaded.get(family) ?? []
        differs ||= difference(chains, read.saved) !== undefined
        packets.push(countPackets(chains, read.saved))
      }
      return { ok: true, packets: sumOf(packets), differs }
    },
    admit: async (cgroup) => {
      let admitted = false
      for (const family of await families()) {
        const result = await admitTo(tool(family), cgroup)
        if (!result.ok) return result
        admitted ||= result.admitted
      }
      return { ok: true, admitted }
    },
    remove: async () => {
      for (const family of await families()) {
        const failure = await removeOurs(tool(family))
        if (failure !== undefined) return failure
      }
      return undefined
    },
    ...(variant === 'nft'
      ? {
          eventFilter: {
            tables: ['ip filter', 'ip6 filter'],
            matches: (line) => NFT_LINE.test(line),
          },
        }
      : { readEvery: LEGACY_READ_MS }),
  }
}

/** Writes one family; returns what its rules had counted. `loaded` has the chains of each family as they were written last. */
async function write(tool: Iptables, rules: HostNetworkRuleset, loaded: Map<Family, readonly Chain[]>) {
  const { family, variant } = tool
  const chains = hostNetworkChains(rules, family, variant)
  const earlier = loaded.get(family) ?? []
  loaded.delete(family)
  const read = await readOurs(tool)
  if (!read.ok) return read
  const before = { ...countPackets(chains, read.saved), ...countPackets(earlier, read.saved) }
  const counting = chains.map((chain) => ({ ...chain, rules: chain.rules.map(keepCount(before)) }))
  const result = await restore(tool, restoreInput(counting, read.saved))
  if (!result.ok) return result
  loaded.set(family, chains)
  return { ok: true, before } as const
}

function toolFor({ exec, variant, lockFile }: Options, family: Family): Iptables {
  return {
    ...{ exec, variant, family, prefix: HOST_CHAINS, counters: true },
    ...(variant === 'nft' ? { precedingJump: `-j ${GUARD_CHAINS}` } : {}),
    ...(variant === 'legacy' && lockFile !== undefined ? { lockFile } : {}),
    modules:
      variant === 'nft'
        ? 'xt_cgroup, ipt_REJECT and ip6t_REJECT'
        : 'xt_cgroup, iptable_security and ip6table_security',
  }
}

/** Sets the initial counter of a rule to what was counted before; proofs are counted anew. */
const keepCount =
  (before: HostPackets) =>
  (rule: Chain['rules'][number]): Chain['rules'][number] => {
    const packets = rule.counter === PROOF_COUNTER ? undefined : before[rule.counter ?? '']
    return packets === undefined ? rule : { ...rule, packets }
  }

function readOurs(tool: Iptables): Promise<Read> {
  const table = HOST_TABLE[tool.variant]
  if (tool.variant === 'legacy') return readTables(tool, [table])
  const own = HOST_CHAIN_NAMES.map((chain) => ({ table, chain }))
  const hooks = HOOKS.map((chain) => ({ table, chain }))
  return readChains(tool, hooks, own)
}

async function admitTo(tool: Iptables, cgroup: string): ReturnType<HostNetworkBackend['admit']> {
  const read = await readOurs(tool)
  if (!read.ok) return read
  const chains = [...read.saved.chains.values()]
  if (chains.length === 0) return { ok: true, admitted: false }
  const named = new Set(chains.flatMap(({ rules }) => rules.map(({ rule }) => cgroupOf(rule) ?? cgroup)))
  const living = new Set<string>()
  for (const path of named) if ((await cgroupId(path)) !== undefined) living.add(path)
  const hooked = chains.map((chain): Chain => {
    const hook = HOOKS.find((name) => chain.name === `${HOST_CHAINS}${name}`)
    return hook === undefined ? chain : { ...chain, hook }
  })
  const admitting = admittingChains(hooked, cgroup, (path) => living.has(path))
  const result = await restore(tool, restoreInput(admitting, read.saved))
  return result.ok ? { ok: true, admitted: true } : result
}

async function removeOurs(tool: Iptables): Promise<Failure | undefined> {
  const { variant, family } = tool
  const table = HOST_TABLE[variant]
  // Reading a table that is not loaded would make the kernel load it.
  if (variant === 'legacy' && !(await legacyTables(NODE_FILES, family)).includes(table)) return undefined
  const before = await readOurs(tool)
  if (!before.ok)
    return variant === 'legacy' && before.unusable
      ? {
          ...unusable(`rules about pods on the host network may be left (${before.detail})`),
          mayRemain: true,
        }
      : before
  const input = removeInput(before.saved)
  if (input === '') return undefined
  const result = await restore(tool, input)
  if (!result.ok) return result
  const after = await readOurs(tool)
  if (!after.ok) return after
  if (after.saved.chains.size === 0) return undefined
  return failed(
    `the chains ${HOST_CHAINS}* of iptables-${variant} came back: a container host-network runs on this node; end that one first`,
  )
}

function sumOf(counts: readonly HostPackets[]): HostPackets {
  const sum: Record<string, number> = {}
  for (const [name, count] of counts.flatMap((each) => Object.entries(each)))
    sum[name] = (sum[name] ?? 0) + count
  return sum
}
