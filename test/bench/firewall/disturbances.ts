/** What other programs on a node do to everybody's rules. */
import { GUARD_TABLE } from '../../../node-guard/firewall/rules/guard-nft.ts'
import type { TestNode } from '../../firewall/node.ts'
import { until } from '../../support/until.ts'

/** `iptables`: the variant over nf_tables, unless the node's other rules are in the legacy one. */
export type BenchBackend = 'nft' | 'iptables' | 'iptables-legacy'

export type Disturbance = {
  readonly name: string
  /** The backends whose refusing rules it removes completely, until they are repaired. */
  readonly opens: readonly BenchBackend[]
  readonly act: (node: TestNode) => Promise<unknown>
}

/** Loads the ruleset as Debian's nftables.service does at every reload. */
const NFTABLES_CONF = `flush ruleset
table inet filter {
  chain input { type filter hook input priority filter; }
  chain forward { type filter hook forward priority filter; }
  chain output { type filter hook output priority filter; }
}
`
/** Restores, like a firewall that ignores other programs, what it saved before the guard was started. */
const restored = (variant: string) => `for t in iptables ip6tables; do
  printf '*mangle\\n:POSTROUTING ACCEPT\\nCOMMIT\\n*filter\\n:FORWARD ACCEPT\\n-A FORWARD -j ACCEPT\\nCOMMIT\\n' | $t-${variant}-restore
done`
/** The guard may have repaired its rules before the chains are deleted, which is then refused. */
const flushed = (variant: string, ...tables: string[]) =>
  `for t in iptables-${variant} ip6tables-${variant}; do ${tables.map((table) => `$t -w -t ${table} -F; $t -w -t ${table} -X || true`).join('; ')}; done`

const inNode = (script: string) => (node: TestNode) => node.must('node', ['sh', '-c', script])

/** The commands are of the variant of iptables that has the backend's rules. */
export const disturbancesOf = (backend: BenchBackend): readonly Disturbance[] =>
  disturbances(backend === 'iptables-legacy' ? 'legacy' : 'nft')

const disturbances = (variant: string): readonly Disturbance[] => [
  { name: 'nft flush ruleset', opens: ['nft', 'iptables'], act: inNode('nft flush ruleset') },
  {
    name: 'nft -f with flush ruleset',
    opens: ['nft', 'iptables'],
    act: (node) => node.must('node', ['nft', '-f', '-'], NFTABLES_CONF),
  },
  // The drop in the mangle table remains.
  { name: 'iptables -F; -X', opens: [], act: inNode(flushed(variant, 'filter')) },
  {
    name: 'iptables -F; -X of filter and mangle',
    opens: ['iptables', 'iptables-legacy'],
    act: inNode(flushed(variant, 'filter', 'mangle')),
  },
  {
    name: 'iptables-restore of filter and mangle',
    opens: ['iptables', 'iptables-legacy'],
    act: inNode(restored(variant)),
  },
]

/** Waits until the guard's rules are there. */
export async function rulesBack(node: TestNode, backend: BenchBackend): Promise<void> {
  const command =
    backend === 'nft'
      ? `nft list table ${GUARD_TABLE}`
      : `iptables-${backend === 'iptables-legacy' ? 'legacy' : 'nft'} -S FORWARD | grep -q POD2IAM-FORWARD`
  const there = async () => (await node.run('node', ['sh', '-c', command])).code === 0
  await until(`the guard's rules are back (${backend})`, there)
}
