import { BROKER_PORT } from '../../../common/addresses.ts'
import { addressSet, REFUSE } from './guard-nft.ts'
import {
  BROKER_PORT_COUNTER,
  type HostNetworkRuleset,
  OTHER_COUNTER,
  PROOF_COUNTER,
  PROOF_PORT,
} from './host-network.ts'
import type { TableName } from './nft.ts'

export const HOST_NETWORK_TABLE: TableName = 'inet pod2iam_hostnet'

/**
 * For `--host-network`: counts or refuses what pods on the host network send to the metadata service. Such a process is
 * distinguished from one of the host by its cgroup, which is below that of all pods. A table of its own, so that whatever
 * is wrong with cgroups on a node does not affect the rules of `guardRuleset`.
 *
 * - A socket keeps the cgroup in which it was made. What is matched is an ancestor at a fixed level, so that a pod's own
 *   subordinate cgroups are matched, too.
 * - −89 is after nat (−100), where the destination is final, and after the guard's own rules.
 * - The chain input is about pods that listen on the broker's port while the broker does not, to which sidecars would send
 *   their tokens. There the kernel looks up the socket that is to receive a packet, so that the first packet is refused.
 * - A cgroup is matched by its id at the time of loading: one that was made again needs the rules to be loaded again.
 */
export function hostNetworkRuleset({ metadata, broker, own, mode, root, pods }: HostNetworkRuleset): string {
  const verdict = (allowed: boolean) => (mode === 'block' && !allowed ? 'goto refuse' : 'accept')
  const judged = ({ cgroup, counter, allowed }: HostNetworkRuleset['pods'][number]) =>
    `    ${within(cgroup)} counter name ${counter} ${verdict(allowed)}`
  return `table ${HOST_NETWORK_TABLE} {
${[OTHER_COUNTER, PROOF_COUNTER, BROKER_PORT_COUNTER, ...pods.map(({ counter }) => counter)].map((name) => `  counter ${name} { }`).join('\n')}
${addressSet('metadata', metadata)}
${addressSet('broker', broker)}

${mode === 'block' ? REFUSE : ''}

  chain judge {
${pods.map(judged).join('\n')}
    counter name ${OTHER_COUNTER} ${verdict(false)}
  }

  chain output {
    type filter hook output priority -89; policy accept;
    ip daddr @metadata4 udp dport ${PROOF_PORT} ${within(root)} counter name ${PROOF_COUNTER} drop
    ip6 daddr @metadata6 udp dport ${PROOF_PORT} ${within(root)} counter name ${PROOF_COUNTER} drop
    ip daddr @metadata4 ${within(root)} goto judge
    ip6 daddr @metadata6 ${within(root)} goto judge
  }

  chain broker {
    ${within(own)} accept
    counter name ${BROKER_PORT_COUNTER} ${verdict(false)}
  }

  chain input {
    type filter hook input priority -89; policy accept;
    ip daddr @broker4 tcp dport ${BROKER_PORT} ${within(root)} goto broker
    ip6 daddr @broker6 tcp dport ${BROKER_PORT} ${within(root)} goto broker
  }
}
`
}

/** Lets a pod pass by rules that are in the kernel, as its node guard does before it knows which pods there are. */
export const admission = (cgroup: string) =>
  ['judge', 'broker']
    .map((chain) => `insert rule ${HOST_NETWORK_TABLE} ${chain} ${within(cgroup)} accept`)
    .join('\n')

const within = (cgroup: string) => `socket cgroupv2 level ${cgroup.split('/').length} "${cgroup}"`
