import { addressSet, REFUSE } from './guard-nft.ts'
import { type HostNetworkRuleset, OTHER_COUNTER, PROOF_COUNTER, PROOF_PORT } from './host-network.ts'
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
 * - A cgroup is matched by its id at the time of loading: one that was made again needs the rules to be loaded again.
 */
export function hostNetworkRuleset({ metadata, mode, root, pods }: HostNetworkRuleset): string {
  const verdict = (allowed: boolean) => (mode === 'block' && !allowed ? 'goto refuse' : 'accept')
  const own = ({ cgroup, counter, allowed }: HostNetworkRuleset['pods'][number]) =>
    `    ${within(cgroup)} counter name ${counter} ${verdict(allowed)}`
  return `table ${HOST_NETWORK_TABLE} {
${[OTHER_COUNTER, PROOF_COUNTER, ...pods.map(({ counter }) => counter)].map((name) => `  counter ${name} { }`).join('\n')}
${addressSet('metadata', metadata)}

${mode === 'block' ? REFUSE : ''}

  chain judge {
${pods.map(own).join('\n')}
    counter name ${OTHER_COUNTER} ${verdict(false)}
  }

  chain output {
    type filter hook output priority -89; policy accept;
    ip daddr @metadata4 udp dport ${PROOF_PORT} ${within(root)} counter name ${PROOF_COUNTER} drop
    ip6 daddr @metadata6 udp dport ${PROOF_PORT} ${within(root)} counter name ${PROOF_COUNTER} drop
    ip daddr @metadata4 ${within(root)} goto judge
    ip6 daddr @metadata6 ${within(root)} goto judge
  }
}
`
}

const within = (cgroup: string) => `socket cgroupv2 level ${cgroup.split('/').length} "${cgroup}"`
