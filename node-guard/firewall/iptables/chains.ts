import type { IptablesTable, SavedRules } from './saved.ts'

/** One rule, in the very words of iptables-save(8) after `-A CHAIN `, so that it can be compared with what is read back. */
export type Rule = { readonly rule: string; readonly counter?: string }

/**
 * A chain of ours. With `hook`, the first rule of that built-in chain jumps to it; with `canary`, a second rule there that
 * does so under this condition.
 */
export type Chain = {
  readonly table: IptablesTable
  readonly name: string
  readonly hook?: string
  readonly canary?: string
  readonly rules: readonly Rule[]
}

/** How what was read differs from what is wanted. */
type Difference = 'is gone' | 'was changed' | 'is not first'

/** Compares; undefined when everything is there, nothing else of ours, and each jump stands first in its chain. */
export function difference(wanted: readonly Chain[], saved: SavedRules): Difference | undefined {
  if (saved.chains.size === 0) return 'is gone'
  const jumps = wanted.flatMap((chain) => jumpsTo(chain).map((rule) => `${chain.table} -A ${rule}`))
  const rules = wanted.map(({ table, name, rules }) =>
    lines(
      table,
      name,
      rules.map(({ rule }) => rule),
    ),
  )
  const seen = [...saved.chains.values()].map(({ table, name, rules }) =>
    lines(
      table,
      name,
      rules.map(({ rule }) => rule),
    ),
  )
  if (!same(rules, seen)) return 'was changed'
  if (
    !same(
      jumps,
      saved.jumps.map(({ table, line }) => `${table} ${line}`),
    )
  )
    return 'was changed'
  const isFirst = ({ table, hook, name }: Chain) =>
    hook === undefined || saved.first.get(`${table} ${hook}`) === `-j ${name}`
  return wanted.every(isFirst) ? undefined : 'is not first'
}

/** The tables of which {@link difference} says something: a repair need not write the others. */
export function differingTables(wanted: readonly Chain[], saved: SavedRules): readonly IptablesTable[] {
  return tablesOf(wanted, saved).filter((table) => {
    const within = {
      ...saved,
      chains: new Map([...saved.chains].filter(([, chain]) => chain.table === table)),
    }
    const jumps = saved.jumps.filter((found) => found.table === table)
    const chains = wanted.filter((chain) => chain.table === table)
    return difference(chains, { ...within, jumps }) !== undefined
  })
}

/** Packets by counter, of what stands of the wanted rules. */
export function countPackets(wanted: readonly Chain[], saved: SavedRules): Record<string, number> {
  const packets: Record<string, number> = {}
  for (const { table, name, rules } of wanted) {
    const seen = saved.chains.get(`${table} ${name}`)?.rules ?? []
    for (const { rule, counter } of rules) {
      const count = seen.find((candidate) => candidate.rule === rule)?.packets ?? 0
      if (counter !== undefined) packets[counter] = (packets[counter] ?? 0) + count
    }
  }
  return packets
}

/**
 * Input of `iptables-restore --noflush` that makes these chains out of what was read: each table in one transaction,
 * others' rules left as they are. It fails as a whole where somebody changed our jumps since; then read again.
 */
export function restoreInput(
  wanted: readonly Chain[],
  saved: SavedRules,
  tables: readonly IptablesTable[] = WRITTEN,
): string {
  const concerned = tablesOf(wanted, saved).filter((table) => tables.includes(table))
  return transactions(concerned, (table) => {
    const chains = wanted.filter((chain) => chain.table === table)
    const stale = [...saved.chains.values()].filter(
      (seen) => seen.table === table && !chains.some(({ name }) => name === seen.name),
    )
    return [
      ...chains.map(({ name }) => `:${name} - [0:0]`),
      ...deleteJumps(table, saved),
      ...chains.flatMap(({ name, rules }) => rules.map(({ rule }) => `-A ${name} ${rule}`)),
      // The last one first: each pushes down what is there.
      ...chains.flatMap((chain) => jumpsTo(chain).toReversed().map(insertFirst)),
      ...stale.map(({ name }) => `-F ${name}`),
      ...stale.map(({ name }) => `-X ${name}`),
    ]
  })
}

/** Input of `iptables-restore --noflush` that removes all chains of ours and every jump to them; empty where there are none. */
export function removeInput(saved: SavedRules): string {
  return transactions(tablesOf([], saved), (table) => {
    const chains = [...saved.chains.values()].filter((chain) => chain.table === table)
    return [
      ...deleteJumps(table, saved),
      ...chains.map(({ name }) => `-F ${name}`),
      ...chains.map(({ name }) => `-X ${name}`),
    ]
  })
}

/** The rules that lead to a chain, in their order, as `CHAIN RULE`. */
const jumpsTo = ({ hook, name, canary }: Chain) =>
  hook === undefined
    ? []
    : [`${hook} -j ${name}`, ...(canary === undefined ? [] : [`${hook} ${canary} -j ${name}`])]
const insertFirst = (rule: string) => `-I ${rule.replace(' ', ' 1 ')}`
const lines = (table: string, name: string, rules: readonly string[]) =>
  [`${table} ${name}`, ...rules].join('\n')
const same = (a: readonly string[], b: readonly string[]) =>
  a.length === b.length && a.toSorted().join('\n\n') === b.toSorted().join('\n\n')

const deleteJumps = (table: IptablesTable, saved: SavedRules) =>
  saved.jumps.filter((found) => found.table === table).map(({ line }) => line.replace(/^-A/, '-D'))

/** In this order: mangle's drops hold while filter is being filled. */
const WRITTEN: readonly IptablesTable[] = ['mangle', 'filter', 'nat']

const tablesOf = (wanted: readonly Chain[], saved: SavedRules) =>
  WRITTEN.filter((table) => [...wanted, ...saved.chains.values()].some((chain) => chain.table === table))

function transactions(
  tables: readonly IptablesTable[],
  commands: (table: IptablesTable) => readonly string[],
): string {
  return tables.map((table) => [`*${table}`, ...commands(table), 'COMMIT', ''].join('\n')).join('')
}
