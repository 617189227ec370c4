/** The two variants of iptables, on nf_tables and on the older ip_tables. Rules of both apply to every packet; each variant lists only its own. */
export type Variant = 'nft' | 'legacy'
export type Family = 4 | 6
/** Whether an address or prefix is of this family. */
export const ofFamily = (family: Family) => (address: string) => address.includes(':') === (family === 6)

/** The tables that we use. */
export type IptablesTable = 'filter' | 'mangle' | 'nat' | 'security'

/** One rule, in the wording of iptables-save(8) after `-A CHAIN `, so that it can be compared with what is read back. */
export type Rule = {
  readonly rule: string
  readonly counter?: string
  /** The initial value of its packet counter; see `Iptables.counters`. */
  readonly packets?: number
}

/** The rules that refuse whatever reaches them, each protocol in its own way. */
export const refusing = (family: Family): readonly Rule[] => [
  { rule: '-p tcp -j REJECT --reject-with tcp-reset' },
  { rule: `-j REJECT --reject-with ${family === 6 ? 'icmp6-adm-prohibited' : 'icmp-admin-prohibited'}` },
]

/**
 * A chain of ours. With `hook`, the first rule of that built-in chain jumps to it; with `canary`, the second one does too,
 * under this condition.
 */
export type Chain = {
  readonly table: IptablesTable
  readonly name: string
  readonly hook?: string
  readonly canary?: string
  readonly rules: readonly Rule[]
}

/** A chain to be read: one of ours, or a built-in one that jumps to ours. */
export type Place = { readonly table: IptablesTable; readonly chain: string }
