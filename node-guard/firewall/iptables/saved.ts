import type { IptablesTable } from '../rules/iptables.ts'

type SavedChain = {
  readonly table: IptablesTable
  readonly name: string
  readonly rules: { readonly rule: string; readonly packets: number }[]
}

/** The part of the iptables rules that concerns us. */
export type SavedRules = {
  /** Chains of ours by `table name`. */
  readonly chains: ReadonlyMap<string, SavedChain>
  /** Rules in other chains that jump to a chain of ours, as `-A CHAIN …`. */
  readonly jumps: readonly { readonly table: IptablesTable; readonly line: string }[]
  /** The first rule of each built-in chain by `table chain`, without `-A CHAIN `; one that may come before ours does not count. */
  readonly first: ReadonlyMap<string, string>
  /** The built-in chains, by `table chain`, that begin with a rule that may come before ours. */
  readonly preceded?: ReadonlySet<string>
}

/** What was read, without these tables, which were deleted since. */
export function withoutTables(saved: SavedRules, gone: readonly IptablesTable[]): SavedRules {
  const stays = (table: string | undefined) => !gone.some((name) => name === table)
  const keep = <T>(entries: ReadonlyMap<string, T>) =>
    new Map([...entries].filter(([key]) => stays(key.split(' ')[0])))
  return {
    chains: keep(saved.chains),
    jumps: saved.jumps.filter(({ table }) => stays(table)),
    first: keep(saved.first),
  }
}

/** Merges what was read of different tables. */
export function mergeSaved(readings: readonly SavedRules[]): SavedRules {
  return {
    chains: new Map(readings.flatMap(({ chains }) => [...chains])),
    jumps: readings.flatMap(({ jumps }) => jumps),
    first: new Map(readings.flatMap(({ first }) => [...first])),
    preceded: new Set(readings.flatMap(({ preceded = [] }) => [...preceded])),
  }
}

const TABLES: readonly IptablesTable[] = ['filter', 'mangle', 'nat', 'security']
const BUILT_IN: ReadonlySet<string> = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'])
/** Quoted text, such as a comment, may look like a jump. */
const QUOTED = /"(?:[^"\\]|\\.)*"/g
const RULE = /^(?:\[(\d+):\d+\] )?-A (\S+) ?(.*)$/
const DECLARED = /^(?::(\S+) -|-N (\S+))/

/**
 * Returns whether a line of iptables-save matters to {@link parseSaved}; to be called for each line in order. Of other programs' rules,
 * the first one of each built-in chain does. There may be thousands of lines, every second with iptables-legacy, so this
 * uses no regular expressions.
 */
export function relevantLines(prefix: string): (line: string) => boolean {
  let last = ''
  return (line) => {
    if (line.startsWith('*')) {
      last = ''
      return true
    }
    if (line.includes(prefix)) return true
    // `[packets:bytes] -A CHAIN rule`
    const start = line.indexOf('-A ') + 3
    if (start < 3) return false
    const end = line.indexOf(' ', start)
    const chain = line.slice(start, end < 0 ? undefined : end)
    if (chain === last) return false
    last = chain
    return BUILT_IN.has(chain)
  }
}

/**
 * Parses the output of `iptables-save -c` (iptables-save(8)) of either variant, or that of `iptables -S` after a line
 * `*TABLE`.
 *
 * @param prefix of the names of our chains
 */
export function parseSaved(output: string, prefix: string): SavedRules {
  const found = collectRules(prefix)
  let table: IptablesTable | undefined
  for (const line of output.split('\n')) {
    if (line.startsWith('*')) table = TABLES.find((known) => known === line.slice(1))
    if (table === undefined) continue
    const [, colon, declared = colon] = DECLARED.exec(line) ?? []
    if (declared !== undefined) found.declare(table, declared)
    const [, packets, chain, rule] = RULE.exec(line) ?? []
    if (chain !== undefined && rule !== undefined) found.take(table, chain, rule, Number(packets ?? 0))
  }
  return found.saved
}

/**
 * Collects rules to {@link SavedRules}. A chain of ours has to be declared before its rules are taken.
 *
 * @param preceding see `Iptables.precedingJump`
 */
export function collectRules(prefix: string, preceding?: string) {
  const chains = new Map<string, SavedChain>()
  const jumps: { table: IptablesTable; line: string }[] = []
  const first = new Map<string, string>()
  const preceded = new Set<string>()
  const target = new RegExp(`(?:^| )-[jg] ${prefix}`)
  const saved: SavedRules = { chains, jumps, first, preceded }
  return {
    saved,
    declare: (table: IptablesTable, name: string) => {
      if (name.startsWith(prefix)) chains.set(`${table} ${name}`, { table, name, rules: [] })
    },
    take: (table: IptablesTable, chain: string, rule: string, packets: number) => {
      const key = `${table} ${chain}`
      if (BUILT_IN.has(chain) && !first.has(key)) {
        if (preceding !== undefined && rule === `${preceding}${chain}`) preceded.add(key)
        else first.set(key, rule)
      }
      const ours = chains.get(key)
      if (ours !== undefined) ours.rules.push({ rule, packets })
      else if (target.test(rule.replace(QUOTED, ''))) jumps.push({ table, line: `-A ${chain} ${rule}` })
    },
  }
}
