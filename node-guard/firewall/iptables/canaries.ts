import { existsSync } from 'node:fs'
import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import type { Chain } from './chains.ts'
import type { Family } from './command.ts'
import type { LostTables } from './events.ts'
import type { IptablesTable } from './saved.ts'

/** How often the canaries are looked at, milliseconds. Each look wakes this process: it costs some 1.5 % of a core. */
const LOOK_MS = 30
const DIRECTORY = '/proc/net/xt_recent'
/** One canary in each table: beside the jump of which the loss opens most. */
const PLACES: Readonly<Record<IptablesTable, string>> = {
  filter: 'FORWARD',
  mangle: 'POSTROUTING',
  nat: 'PREROUTING',
}

/**
 * What shows at once that rules of iptables-legacy were flushed. A table counts as lost with its canary: mostly all of it
 * is. Where no more than its chain was flushed, reading after the repair finds what then stands twice.
 */
export type Canaries = LostTables & {
  /** Chains with a canary in each table; as they are where this kernel cannot have any. */
  readonly add: (chains: readonly Chain[], family: Family) => readonly Chain[]
  /** Rules with them could not be loaded: from now on there are none. False where that is no news, or cannot be why. */
  readonly giveUp: () => boolean
  /** Without them it is no better: they were not why. */
  readonly resume: () => void
  /** All that was added stands in the kernel, as read back. */
  readonly expect: () => void
  /** Whether one is gone since they were expected; says so once. */
  readonly isOneGone: () => boolean
  /** There are none, since this kernel lacks what they need, or does not show them here. */
  readonly missing: () => boolean
}

/**
 * iptables-legacy tells nobody of changes, and reading its rules takes two processes. But a rule with a list of xt_recent
 * has a file in /proc/net for as long as it stands, so that its loss can be seen for next to nothing. These rules match no
 * packet: none has the unspecified source address, and nobody puts one on the list.
 *
 * @param exists whether a file exists
 */
export function createCanaries(exists: (file: string) => boolean = existsSync): Canaries {
  const tables = new Map<Family, readonly IptablesTable[]>()
  let state: 'untried' | 'standing' | 'missing' = 'untried'
  let expected = false
  let anyLost = false
  const lostOf = (family: Family) =>
    (tables.get(family) ?? []).filter((table) => !exists(`${DIRECTORY}/${list(table, family)}`))
  const areAllThere = () => [...tables.keys()].every((family) => lostOf(family).length === 0)

  return {
    add: (chains, family) => {
      expected = false
      if (state === 'missing') return chains
      const placed = chains.map((chain) =>
        PLACES[chain.table] === chain.hook ? { ...chain, canary: condition(chain.table, family) } : chain,
      )
      const added = placed.filter(({ canary }) => canary !== undefined)
      tables.set(
        family,
        added.map(({ table }) => table),
      )
      return placed
    },
    giveUp: () => {
      if (state !== 'untried') return false
      state = 'missing'
      return true
    },
    resume: () => {
      state = 'untried'
    },
    expect: () => {
      // Where their files never were, each look would find a loss.
      if (state === 'untried') state = areAllThere() ? 'standing' : 'missing'
      expected = state === 'standing'
    },
    isOneGone: () => {
      if (!expected || areAllThere()) return false
      expected = false
      anyLost = true
      return true
    },
    any: () => anyLost,
    // As it is by now: another flushes one table after the other.
    of: (family) => (anyLost ? lostOf(family) : []),
    forget: () => {
      anyLost = false
    },
    missing: () => state === 'missing',
  }
}

/** Looks at them until what comes back is called. */
export function watchCanaries(isOneGone: () => boolean, event: () => void): () => void {
  const timer = setInterval(() => {
    if (isOneGone()) event()
  }, LOOK_MS)
  return () => clearInterval(timer)
}

/** A list belongs to one family and table, or it would stay for the sake of another's rule. */
const list = (table: IptablesTable, family: Family) => `${GUARD_CHAINS}${table}-${family}`

function condition(table: IptablesTable, family: Family): string {
  const [source, mask] =
    family === 6 ? ['::/128', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'] : ['0.0.0.0/32', '255.255.255.255']
  return `-s ${source} -m recent --rcheck --name ${list(table, family)} --mask ${mask} --rsource`
}
