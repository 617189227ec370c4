/** The tables that we use. */
export type IptablesTable = 'filter' | 'mangle' | 'nat'

export type SavedChain = {
  readonly table: IptablesTable
  readonly name: string
  readonly rules: { readonly rule: string; readonly packets: number }[]
}

/** What concerns us in the output of `iptables-save -c`. */
export type SavedRules = {
  /** Chains of ours by `table name`. */
  readonly chains: ReadonlyMap<string, SavedChain>
  /** Rules in others' chains that lead to a chain of ours, as `-A CHAIN …`. */
  readonly jumps: readonly { readonly table: IptablesTable; readonly line: string }[]
  /** The first rule of each built-in chain by `table chain`, without `-A CHAIN `. */
  readonly first: ReadonlyMap<string, string>
}

const TABLES: readonly IptablesTable[] = ['filter', 'mangle', 'nat']
const BUILT_IN = /^(?:PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING)$/
/** A comment may read like a jump. */
const QUOTED = /"(?:[^"\\]|\\.)*"/g
const RULE = /^(?:\[(\d+):\d+\] )?-A (\S+) ?(.*)$/

/** Whether a line of iptables-save can matter to {@link parseSaved}; a node's other chains can be megabytes. */
export function isOfInterest(line: string, prefix: string): boolean {
  return (
    line.startsWith('*') || line.includes(prefix) || BUILT_IN.test(RULE.exec(line.slice(0, 100))?.[2] ?? '')
  )
}

/**
 * Reads the output of `iptables-save -c` (iptables-save(8)), of either variant.
 *
 * @param prefix how the names of our chains begin
 */
export function parseSaved(output: string, prefix: string): SavedRules {
  const chains = new Map<string, SavedChain>()
  const jumps: { table: IptablesTable; line: string }[] = []
  const first = new Map<string, string>()
  const target = new RegExp(`(?:^| )-[jg] ${prefix}`)

  const takeRule = (table: IptablesTable, chain: string, rule: string, packets: number) => {
    const key = `${table} ${chain}`
    if (BUILT_IN.test(chain) && !first.has(key)) first.set(key, rule)
    const ours = chains.get(key)
    if (ours !== undefined) ours.rules.push({ rule, packets })
    else if (target.test(rule.replace(QUOTED, ''))) jumps.push({ table, line: `-A ${chain} ${rule}` })
  }

  let table: IptablesTable | undefined
  for (const line of output.split('\n')) {
    if (line.startsWith('*')) table = TABLES.find((known) => known === line.slice(1))
    if (table === undefined) continue
    const declared = /^:(\S+) -/.exec(line)?.[1]
    if (declared?.startsWith(prefix)) chains.set(`${table} ${declared}`, { table, name: declared, rules: [] })
    const [, packets, chain, rule] = RULE.exec(line) ?? []
    if (chain !== undefined && rule !== undefined) takeRule(table, chain, rule, Number(packets ?? 0))
  }
  return { chains, jumps, first }
}
