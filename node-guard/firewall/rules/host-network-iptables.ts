import { type HostNetworkRuleset, OTHER_COUNTER, PROOF_COUNTER, PROOF_PORT } from './host-network.ts'
import { type Chain, type Family, type IptablesTable, ofFamily, type Variant } from './iptables.ts'

/** Prefix of the names of the chains. Not that of the guard's, which removes any chain of its prefix that it does not want. */
export const HOST_CHAINS = 'POD2IAM_HOST-'

/**
 * The table for each variant.
 *
 * - iptables-legacy replaces tables as a whole, and the kernel then looks up every cgroup that any rule of the table
 *   names. If one is gone, or the program that writes has a cgroup namespace of its own, it refuses the whole table. In
 *   filter, this would stop kube-proxy and network plugins; nobody else writes to security.
 * - Only filter can reject, so that in security packets are dropped.
 */
export const HOST_TABLE: Readonly<Record<Variant, IptablesTable>> = { nft: 'filter', legacy: 'security' }

/** The names of our chains, in the order in which they are read. */
export const HOST_CHAIN_NAMES = ['OUTPUT', 'JUDGE', 'REFUSE'].map((name) => `${HOST_CHAINS}${name}`)

/**
 * What `hostNetworkRuleset` does in nft, for one family. Both tables come after nat, where the destination is final. A
 * cgroup is looked up at loading; the rule about one that is gone matches nothing.
 */
export function hostNetworkChains(
  { metadata, mode, root, pods }: HostNetworkRuleset,
  family: Family,
  variant: Variant,
): readonly Chain[] {
  const table = HOST_TABLE[variant]
  const to = metadata.filter(ofFamily(family)).map((address) => `-d ${address}/${family === 6 ? 128 : 32}`)
  if (to.length === 0) return []
  const verdict = (allowed: boolean) =>
    mode === 'block' && !allowed ? `-g ${HOST_CHAINS}REFUSE` : '-j RETURN'
  const prohibited = family === 6 ? 'icmp6-adm-prohibited' : 'icmp-admin-prohibited'
  const refuse =
    variant === 'legacy'
      ? [{ rule: '-j DROP' }]
      : [
          { rule: '-p tcp -j REJECT --reject-with tcp-reset' },
          { rule: `-j REJECT --reject-with ${prohibited}` },
        ]
  return [
    ...(mode === 'block' ? [{ table, name: `${HOST_CHAINS}REFUSE`, rules: refuse }] : []),
    {
      table,
      name: `${HOST_CHAINS}JUDGE`,
      rules: [
        ...pods.map(({ cgroup, counter, allowed }) => ({
          rule: `${within(cgroup)} ${verdict(allowed)}`,
          counter,
        })),
        { rule: verdict(false), counter: OTHER_COUNTER },
      ],
    },
    {
      table,
      name: `${HOST_CHAINS}OUTPUT`,
      hook: 'OUTPUT',
      rules: [
        ...to.map((address) => ({
          rule: `${address} -p udp -m udp --dport ${PROOF_PORT} ${within(root)} -j DROP`,
          counter: PROOF_COUNTER,
        })),
        ...to.map((address) => ({ rule: `${address} ${within(root)} -g ${HOST_CHAINS}JUDGE` })),
      ],
    },
  ]
}

/** As iptables-save(8) prints it, which quotes what is not a plain word. */
const within = (cgroup: string) =>
  `-m cgroup --path ${/^[\w-]+$/.test(cgroup) ? cgroup : JSON.stringify(cgroup)}`
