import type { Backend, Compared } from '../guard/backend.ts'
import { ruleEvents } from '../nft/rule-events.ts'
import type { Exec } from '../process/exec.ts'
import type { GuardRuleset } from '../rules/guard.ts'
import { GUARD_CHAINS, iptablesRules } from '../rules/guard-iptables.ts'
import { type Canaries, createCanaries } from './canaries.ts'
import { type Chain, countPackets, difference } from './chains.ts'
import type { Family, Iptables, IptablesFailure, Variant } from './command.ts'
import { iptablesInterest, type LostTables, monitoredTables } from './events.ts'
import { ipTables, NF_TABLES } from './kernel.ts'
import { createLegacyNat, type LegacyNat } from './legacy-nat.ts'
import { type LegacyNode, removeChains } from './removal.ts'
import { type SavedRules, withoutTables } from './saved.ts'
import { WRITTEN_TOGETHER, type Write, writeTables } from './write.ts'

/** iptables-legacy tells nobody of changes, and its canaries not of all: its rules are read back this often. */
const LEGACY_POLL_MS = 1000

type IptablesOptions = {
  readonly exec: Exec
  readonly variant: Variant
  /** The families this kernel speaks. */
  readonly families: () => Promise<readonly Family[]>
  /** Of iptables-legacy: what is known without asking it. */
  readonly legacy?: LegacyNode
  /** Of iptables-legacy. */
  readonly canaries?: Canaries
  readonly legacyNat?: LegacyNat
}

/** The guard's rules in iptables, by one of its variants, for both families. */
export function iptablesBackend({
  exec,
  variant,
  families,
  legacy,
  canaries = variant === 'legacy' ? createCanaries() : undefined,
  legacyNat = createLegacyNat(),
}: IptablesOptions): Backend {
  const tools = async () =>
    (await families()).map((family): Iptables => ({ exec, variant, family, prefix: GUARD_CHAINS }))
  const sides = new Map<Family, Side>()
  const monitored = monitoredTables()
  const lost: LostTables = canaries ?? monitored
  let limited: string | undefined

  const kernel = variant === 'nft' ? NF_TABLES : ipTables(legacyNat)
  const chainsOf = (rules: GuardRuleset, family: Family) => {
    const kept = keepable(iptablesRules(rules, family), family)
    return canaries?.add(kept, family) ?? kept
  }
  const keepable = (chains: readonly Chain[], family: Family) =>
    kernel.leavesNat(family) ? chains.filter(({ table }) => table !== 'nat') : chains

  const write = async (rules: GuardRuleset): Promise<IptablesFailure | undefined> => {
    const heard = new Map((await families()).map((family) => [family, lost.of(family)] as const))
    const repairs = lost.any()
    lost.forget()
    let writes = (await tools()).map((tool): Write => {
      const { family } = tool
      const chains = chainsOf(rules, family)
      const { seen, differs = false, before } = sides.get(family) ?? NOTHING
      sides.set(family, { ...NOTHING, chains, before })
      const known = differs || repairs ? seen && withoutTables(seen, heard.get(family) ?? []) : undefined
      return { tool, chains, known, written: [] }
    })
    for (const tables of WRITTEN_TOGETHER) {
      const results = await Promise.all(writes.map((one) => writeTables(kernel, one, tables)))
      const failed = results.find((result) => 'detail' in result)
      if (failed !== undefined) return failed
      writes = results.flatMap((result) => ('detail' in result ? [] : [result]))
    }
    for (const { tool, known, written } of writes) {
      // The nat table may have turned out too big meanwhile.
      const chains = chainsOf(rules, tool.family)
      const kept = chains.filter(({ table }) => !written.includes(table))
      const before = known === undefined ? {} : countPackets(kept, known)
      sides.set(tool.family, { ...NOTHING, chains, before })
    }
    return undefined
  }

  return {
    name: `iptables-${variant}`,
    what: `the chains ${GUARD_CHAINS}* of iptables-${variant}`,
    load: async (rules) => {
      let failed = await write(rules)
      // It may be for what they need.
      if (failed?.raced && canaries?.giveUp()) {
        failed = await write(rules)
        if (failed !== undefined) canaries.resume()
      }
      return failed
    },
    compare: async () => {
      for (const family of await families()) legacyNat.forgetLost(family, lost.of(family))
      lost.forget()
      const packets: Record<string, number> = {}
      let differs: Compared['differs']
      const found = new Map<Family, SavedRules>()
      const reads = (await tools()).map(async (tool) => ({
        tool,
        result: await kernel.read(tool, WRITTEN_TOGETHER.flat()),
      }))
      for (const { tool, result } of await Promise.all(reads)) {
        if (!result.ok) return { failed: result.detail }
        const { chains: loaded, before } = sides.get(tool.family) ?? NOTHING
        const chains = keepable(loaded, tool.family)
        differs ??= difference(chains, result.saved)
        for (const [name, count] of Object.entries(countPackets(chains, result.saved)))
          packets[name] = (packets[name] ?? 0) + Math.max(0, count - (before[name] ?? 0))
        found.set(tool.family, result.saved)
      }
      for (const [family, side] of sides)
        sides.set(family, { ...side, seen: found.get(family), differs: differs !== undefined })
      if (differs === undefined) canaries?.expect()
      return { packets, ...(differs === undefined ? {} : { differs }) }
    },
    remove: async () => {
      const used = async ({ family }: Iptables) => (await legacy?.tables(family))?.length !== 0
      const inUse = await Promise.all((await tools()).map(used))
      if (!inUse.includes(true)) return 'absent'
      let removed: 'absent' | 'removed' = 'absent'
      for (const tool of await tools()) {
        const result = await removeChains(tool, legacy)
        if (typeof result !== 'string')
          return legacy === undefined || !result.unusable ? result : { ...result, ...unseen(result.detail) }
        if (result === 'removed') removed = result
      }
      return removed
    },
    heard: () => (lost.any() ? 'is gone' : undefined),
    ...(canaries === undefined
      ? {
          watched: async () => {
            const events = await ruleEvents(exec, iptablesInterest(monitored))
            limited = events.limited
            return events
          },
          limits: () => limited,
        }
      : {
          watched: async () => undefined,
          unwatched: { isDisturbed: canaries.isOneGone, readEvery: LEGACY_POLL_MS },
          limits: () => {
            const limits = [
              ...(([4, 6] as const).some(kernel.leavesNat) ? [NO_PIN] : []),
              ...(canaries.missing() ? [NO_CANARIES] : []),
            ]
            return limits.length > 0 ? limits.join('; ') : undefined
          },
        }),
  }
}

/** Where the kernel has tables of iptables-legacy and this process cannot see them. */
const unseen = (why: string) =>
  ({
    detail: `iptables-legacy has tables on this node, which cannot be looked at, so that rules of an earlier guard may stand there (${why}); the chart gives NET_RAW with guard.mode=remove and with guard.backend=iptables`,
    mayStand: true,
  }) as const

const NO_PIN =
  'the nat table of iptables-legacy is too big to be read or changed within this container’s memory, so that the broker’s address and IPv6 addresses of the metadata service are not kept from another’s DNAT (a hostPort that is the broker’s port, a Service that claims the address): what pods send there is then refused, and what the host sends is led away; forbid that port and enable the admission plugin DenyServiceExternalIPs, or use nf_tables'

const NO_CANARIES =
  'that rules of iptables-legacy are gone shows nowhere in /proc/net/xt_recent, so that it is found only when they are read back, once a second: load the module xt_recent, or lower --poll-interval'

/** What we know of one family. */
type Side = {
  readonly chains: readonly Chain[]
  /** What was read since the last write: a repair begins with it instead of reading once more. */
  readonly seen: SavedRules | undefined
  /** That was not as loaded, in one family or the other. */
  readonly differs: boolean
  /** Packets that were counted before the last repair, of tables that it did not write. */
  readonly before: Readonly<Record<string, number>>
}

const NOTHING: Side = { chains: [], seen: undefined, differs: false, before: {} }
