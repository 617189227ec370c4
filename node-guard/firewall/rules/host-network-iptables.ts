import { BROKER_PORT } from '../../../common/addresses.ts'
import {
  BROKER_PORT_COUNTER,
  type HostNetworkRuleset,
  OTHER_COUNTER,
  PROOF_COUNTER,
  PROOF_PORT,
} from './host-network.ts'
import { type Chain, type Family, type IptablesTable, ofFamily, refusing, type Variant } from './iptables.ts'

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
export const HOST_CHAIN_NAMES = ['OUTPUT', 'INPUT', 'JUDGE', 'BROKER', 'REFUSE'].map(
  (name) => `${HOST_CHAINS}${name}`,
)

/**
 * What `hostNetworkRuleset` does in nft, for one family. Both tables come after nat, where the destination is final. A
 * cgroup is looked up at loading; the rule about one that is gone matches nothing.
 *
 * A pod that listens on the broker's port is recognised later than in nft: iptables sees the cgroup of connections that are
 * established, not that of a listener. So both directions are dropped. A listener that defers to accept (tcp(7),
 * `TCP_DEFER_ACCEPT`) still receives the first packet with data, but cannot answer it.
 */
export function hostNetworkChains(
  rules: HostNetworkRuleset,
  family: Family,
  variant: Variant,
): readonly Chain[] {
  const { metadata, broker, mode, root } = rules
  const table = HOST_TABLE[variant]
  const whole = (address: string) => `${address}/${family === 6 ? 128 : 32}`
  const to = metadata.filter(ofFamily(family)).map((address) => `-d ${whole(address)}`)
  const brokers = broker.filter(ofFamily(family)).map(whole)
  const answers = mode === 'block' ? brokers : []
  const refusal = variant === 'legacy' ? [{ rule: '-j DROP' }] : refusing(family)
  if (to.length === 0) return []
  return [
    ...(mode === 'block' ? [{ table, name: `${HOST_CHAINS}REFUSE`, rules: refusal }] : []),
    { table, name: `${HOST_CHAINS}JUDGE`, rules: judgement(rules) },
    { table, name: `${HOST_CHAINS}BROKER`, rules: brokerPort(rules) },
    {
      table,
      name: `${HOST_CHAINS}INPUT`,
      hook: 'INPUT',
      rules: brokers.map((address) => ({
        rule: `-d ${address} -p tcp -m tcp --dport ${BROKER_PORT} ${within(root)} -g ${HOST_CHAINS}BROKER`,
      })),
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
        ...answers.map((address) => ({
          rule: `-s ${address} -p tcp -m tcp --sport ${BROKER_PORT} ${within(root)} -g ${HOST_CHAINS}BROKER`,
        })),
      ],
    },
  ]
}

/** For what pods send to the metadata service. */
function judgement({ mode, pods }: HostNetworkRuleset): Chain['rules'] {
  const verdict = (allowed: boolean) =>
    mode === 'block' && !allowed ? `-g ${HOST_CHAINS}REFUSE` : '-j RETURN'
  return [
    ...pods.map(({ cgroup, counter, allowed }) => ({
      rule: `${within(cgroup)} ${verdict(allowed)}`,
      counter,
    })),
    { rule: verdict(false), counter: OTHER_COUNTER },
  ]
}

/** For packets from and to the broker's port where a pod listens on it. */
function brokerPort({ own, mode }: HostNetworkRuleset): Chain['rules'] {
  return [
    { rule: `${within(own)} -j RETURN` },
    { rule: mode === 'block' ? '-j DROP' : '-j RETURN', counter: BROKER_PORT_COUNTER },
  ]
}

/**
 * Chains as they were read, which also let this pod pass; see `admission` in `host-network-nft.ts`. Without the rules about
 * cgroups that are gone, since the kernel refuses to load these.
 *
 * @param exists whether a cgroup exists
 */
export function admittingChains(
  read: readonly Chain[],
  cgroup: string,
  exists: (cgroup: string) => boolean,
): readonly Chain[] {
  const own = { rule: `${within(cgroup)} -j RETURN` }
  return read.map((chain) => {
    const rules = chain.rules.filter(({ rule }) => exists(cgroupOf(rule) ?? cgroup))
    const admits = ['JUDGE', 'BROKER'].some((name) => chain.name === `${HOST_CHAINS}${name}`)
    return { ...chain, rules: admits ? [own, ...rules] : rules }
  })
}

/** The cgroup that a rule of ours names. */
export function cgroupOf(rule: string): string | undefined {
  const path = /-m cgroup --path ("[^"]*"|\S+)/.exec(rule)?.[1]
  return path?.startsWith('"') ? JSON.parse(path) : path
}

/** As iptables-save(8) prints it, which quotes what is not a plain word. */
const within = (cgroup: string) =>
  `-m cgroup --path ${/^[\w-]+$/.test(cgroup) ? cgroup : JSON.stringify(cgroup)}`
