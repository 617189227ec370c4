import type { Exec } from '../exec.ts'
import {
  type Chain,
  countPackets,
  difference,
  differingTables,
  removeInput,
  restoreInput,
} from '../iptables/chains.ts'
import {
  type Family,
  type Iptables,
  type IptablesFailure,
  readSaved,
  restore,
  type Variant,
} from '../iptables/command.ts'
import { type SavedRules, withoutTables } from '../iptables/saved.ts'
import type { Backend, Compared, Failure } from './backend.ts'
import { type Canaries, createCanaries } from './canaries.ts'
import { iptablesInterest, type LostTables, monitoredTables } from './iptables-events.ts'
import { GUARD_CHAINS, iptablesRules } from './iptables-rules.ts'
import { ruleEvents } from './rule-events.ts'
import type { GuardRuleset } from './ruleset.ts'

/** iptables-legacy tells nobody of changes, and its canaries not of all: its rules are read back this often. */
const LEGACY_POLL_MS = 1000

export type IptablesOptions = {
  readonly exec: Exec
  readonly variant: Variant
  /** The families this kernel speaks. */
  readonly families: () => Promise<readonly Family[]>
  /** Whether this variant has tables at all; only asking iptables-legacy would make the kernel load them. */
  readonly inUse?: () => Promise<boolean>
  /** Of iptables-legacy. */
  readonly canaries?: Canaries
}

/** The guard's rules in iptables, by one of its variants, for both families. */
export function iptablesBackend({
  exec,
  variant,
  families,
  inUse,
  canaries = variant === 'legacy' ? createCanaries() : undefined,
}: IptablesOptions): Backend {
  const tools = async () =>
    (await families()).map((family): Iptables => ({ exec, variant, family, prefix: GUARD_CHAINS }))
  const sides = new Map<Family, Side>()
  const monitored = monitoredTables()
  const lost: LostTables = canaries ?? monitored
  let limited: string | undefined

  const write = async (rules: GuardRuleset): Promise<IptablesFailure | undefined> => {
    const heard = new Map((await families()).map((family) => [family, lost.of(family)] as const))
    const repairs = lost.any()
    lost.forget()
    const results = (await tools()).map(async (tool) => {
      const { family } = tool
      const wanted = iptablesRules(rules, family)
      const chains = canaries?.add(wanted, family) ?? wanted
      const { seen, differs = false, before } = sides.get(family) ?? NOTHING
      sides.set(family, { ...NOTHING, chains, before })
      const known = differs || repairs ? seen && withoutTables(seen, heard.get(family) ?? []) : undefined
      const side = await replace(tool, chains, known)
      if ('detail' in side) return side
      sides.set(family, side)
      return undefined
    })
    return (await Promise.all(results)).find((failed) => failed !== undefined)
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
      lost.forget()
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
      for (const [family, side] of sides)
        sides.set(family, { ...side, seen: found.get(family), differs: differs !== undefined })
      if (differs === undefined) canaries?.expect()
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
          limits: () => (canaries.missing() ? NO_CANARIES : undefined),
        }),
  }
}

/** Where the kernel has tables of iptables-legacy and this process cannot see them. */
const unseen = (why: string) =>
  ({
    detail: `iptables-legacy has tables on this node, which cannot be looked at, so that rules of an earlier guard may stand there (${why}); the chart gives NET_RAW with guard.mode=remove and with guard.backend=iptables`,
    mayStand: true,
  }) as const

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

/** Writes: what differs from what is known; else, or where another changed our jumps since, all by what is read now. */
async function replace(
  tool: Iptables,
  chains: readonly Chain[],
  known: SavedRules | undefined,
): Promise<Side | IptablesFailure> {
  if (known !== undefined) {
    const tables = differingTables(chains, known)
    const kept = chains.filter(({ table }) => !tables.includes(table))
    const side = { ...NOTHING, chains, before: countPackets(kept, known) }
    if (tables.length === 0) return side
    const result = await restore(tool, restoreInput(chains, known, tables))
    if (result.ok) return side
    if (!result.raced) return result
  }
  for (let attempt = 1; ; attempt++) {
    const read = await readSaved(tool)
    if (!read.ok) return read
    const result = await restore(tool, restoreInput(chains, read.saved))
    if (result.ok) return { ...NOTHING, chains }
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
