import { existsSync } from 'node:fs'
import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import type { Chain, Family, IptablesTable } from '../rules/iptables.ts'

/** How often the canaries are checked, milliseconds. Each check wakes this process: some 1.5 % of a core in all. */
export const CANARY_CHECK_MS = 30
const DIRECTORY = '/proc/net/xt_recent'
/** One canary in each table: in the built-in chain whose jump matters most. */
const PLACES: Readonly<Partial<Record<IptablesTable, string>>> = {
  filter: 'FORWARD',
  mangle: 'POSTROUTING',
  nat: 'PREROUTING',
}

export type Canaries = ReturnType<typeof createCanaries>

/**
 * Detects at once that rules of iptables-legacy were flushed. If its canary is gone a table counts as lost, since usually the
 * whole table was flushed. If only that chain was, the reading after the repair finds the rules that then exist twice.
 *
 * iptables-legacy has no notifications, and reading its rules takes two processes. But a rule with a list of xt_recent
 * has a file in /proc/net as long as the rule exists, so that its loss can be detected at almost no cost. These rules match no
 * packet: none has the unspecified source address, and nothing adds an address to the list.
 *
 * @param exists whether a file exists
 */
export function createCanaries(exists: (file: string) => boolean = existsSync) {
  const tables = new Map<Family, readonly IptablesTable[]>()
  let state: 'untried' | 'present' | 'missing' = 'untried'
  let expected = false
  let anyLost = false
  const lostOf = (family: Family) =>
    (tables.get(family) ?? []).filter((table) => !exists(`${DIRECTORY}/${list(table, family)}`))
  const areAllThere = () => [...tables.keys()].every((family) => lostOf(family).length === 0)

  return {
    /** Adds a canary in each table to these chains; returns them unchanged where this kernel cannot have canaries. */
    add: (chains: readonly Chain[], family: Family): readonly Chain[] => {
      expected = false
      if (state === 'missing') return chains
      const placed = chains.map((chain) =>
        PLACES[chain.table] === chain.hook ? { ...chain, canary: condition(chain.table, family) } : chain,
      )
      const added = placed.filter(({ canary }) => canary !== undefined).map(({ table }) => table)
      tables.set(family, added)
      return placed
    },
    /** To be called when rules with canaries could not be loaded: from now on there are none. Returns false if they cannot be the reason. */
    giveUp: () => {
      if (state !== 'untried') return false
      state = 'missing'
      return true
    },
    /** To be called when loading failed without canaries, too: they were not the reason. */
    resume: () => {
      state = 'untried'
    },
    /** To be called when all canaries were read back from the kernel. */
    expect: () => {
      // If this kernel does not show their files, every check would report a loss.
      if (state === 'untried') state = areAllThere() ? 'present' : 'missing'
      expected = state === 'present'
    },
    /** Whether a canary has disappeared since `expect`; true once for each loss. */
    isOneGone: () => {
      if (!expected || areAllThere()) return false
      expected = false
      anyLost = true
      return true
    },
    any: () => anyLost,
    // As of this call, since other programs flush one table after the other.
    of: (family: Family) => (anyLost ? lostOf(family) : []),
    forget: () => {
      anyLost = false
    },
    /** Whether there are none because this kernel lacks what they need, or does not show them here. */
    missing: () => state === 'missing',
  }
}

/** A list for each family and table: a shared one would exist as long as any rule uses it. */
const list = (table: IptablesTable, family: Family) => `${GUARD_CHAINS}${table}-${family}`

function condition(table: IptablesTable, family: Family): string {
  const [source, mask] =
    family === 6 ? ['::/128', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'] : ['0.0.0.0/32', '255.255.255.255']
  return `-s ${source} -m recent --rcheck --name ${list(table, family)} --mask ${mask} --rsource`
}
