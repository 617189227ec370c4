import type { Chain, IptablesTable } from '../rules/iptables.ts'
import type { SavedRules } from './saved.ts'

/** How what was read differs from what is wanted. */
type Difference = 'is gone' | 'was changed' | 'is not first'

/** Compares what was read with what is wanted; undefined if exactly the wanted chains of ours exist, and each jump is first in its built-in chain. */
export function difference(wanted: readonly Chain[], saved: SavedRules): Difference | undefined {
  if (saved.chains.size === 0 && wanted.length > 0) return 'is gone'
  const jumps = wanted.flatMap((chain) => jumpsTo(chain).map((rule) => `${chain.table} -A ${rule}`))
  const seenJumps = saved.jumps.map(({ table, line }) => `${table} ${line}`)
  const rules = wanted.map(chainText)
  const seenRules = [...saved.chains.values()].map(chainText)
  if (!same(rules, seenRules) || !same(jumps, seenJumps)) return 'was changed'
  const isFirst = ({ table, hook, name }: Chain) =>
    hook === undefined || saved.first.get(`${table} ${hook}`) === `-j ${name}`
  return wanted.every(isFirst) ? undefined : 'is not first'
}

/** The tables in which there is a {@link difference}: a repair need not write the others. */
export function differingTables(wanted: readonly Chain[], saved: SavedRules): readonly IptablesTable[] {
  return tablesOf(wanted, saved).filter((table) => {
    const isHere = (one: { readonly table: IptablesTable }) => one.table === table
    const chains = new Map([...saved.chains].filter(([, chain]) => isHere(chain)))
    return (
      difference(wanted.filter(isHere), { ...saved, chains, jumps: saved.jumps.filter(isHere) }) !== undefined
    )
  })
}

/** Packets by counter, summed over the wanted rules that exist. */
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
 * Input of `iptables-restore --noflush` that replaces our chains that were read by the wanted ones: each table in one transaction, the
 * rules of other programs untouched. It fails as a whole if our jumps were changed since; then they have to be read again.
 *
 * @param tables those to be written
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
      ...chains.flatMap(({ name, rules }) =>
        rules.map(
          ({ rule, packets }) => `${packets === undefined ? '' : `[${packets}:0] `}-A ${name} ${rule}`,
        ),
      ),
      // The last one first, since each is inserted before those that exist.
      ...chains.flatMap((chain) =>
        jumpsTo(chain)
          .toReversed()
          .map((rule) => insert(rule, saved.preceded?.has(`${table} ${chain.hook}`) ? 2 : 1)),
      ),
      ...stale.map(({ name }) => `-F ${name}`),
      ...stale.map(({ name }) => `-X ${name}`),
    ]
  })
}

/** Input of `iptables-restore --noflush` that removes our chains and all jumps to them; empty if there are none. */
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
const insert = (rule: string, at: number) => `-I ${rule.replace(' ', ` ${at} `)}`
const chainText = ({ table, name, rules }: Pick<Chain, 'table' | 'name' | 'rules'>) =>
  [`${table} ${name}`, ...rules.map(({ rule }) => rule)].join('\n')
const same = (a: readonly string[], b: readonly string[]) =>
  a.length === b.length && a.toSorted().join('\n\n') === b.toSorted().join('\n\n')

const deleteJumps = (table: IptablesTable, saved: SavedRules) =>
  saved.jumps.filter((found) => found.table === table).map(({ line }) => line.replace(/^-A/, '-D'))

/** In this order, so that the drops of mangle work while filter is written. */
const WRITTEN: readonly IptablesTable[] = ['mangle', 'filter', 'nat', 'security']

const tablesOf = (wanted: readonly Chain[], saved: SavedRules) =>
  WRITTEN.filter((table) => [...wanted, ...saved.chains.values()].some((chain) => chain.table === table))

function transactions(
  tables: readonly IptablesTable[],
  commands: (table: IptablesTable) => readonly string[],
): string {
  return tables.map((table) => [`*${table}`, ...commands(table), 'COMMIT', ''].join('\n')).join('')
}
