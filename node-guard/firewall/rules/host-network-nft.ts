import type { TableName } from '../nft/table-content.ts'
import { addressSet, REFUSE } from './guard-nft.ts'

export const HOST_NETWORK_TABLE: TableName = 'inet pod2iam_hostnet'

export type HostNetworkRuleset = {
  /** Exact addresses of the metadata service, both families. */
  readonly metadata: readonly string[]
  /** `audit` counts, `block` refuses, too. */
  readonly mode: 'audit' | 'block'
  /** The cgroup of all pods, below the root of cgroup v2, such as `kubepods.slice`. */
  readonly root: string
  /** Pods that are told apart, each by its own cgroup. */
  readonly pods: readonly { readonly cgroup: string; readonly counter: string; readonly allowed: boolean }[]
}

/** Packets of pods that are not told apart. */
export const OTHER_COUNTER = 'host_other'
/** Packets by which the firewall proves that the rules see pods. */
export const PROOF_COUNTER = 'host_proof'
/** The discard protocol: nothing of the metadata service is there, so that these packets are missed by nobody. */
export const PROOF_PORT = 9

/**
 * For `--host-network`: what processes of pods on the host network send to the metadata service. Such a process is told
 * from one of the host by its cgroup, which is below that of all pods. A table of its own, so that whatever is wrong with
 * cgroups on a node, the rules of `guardRuleset` stand.
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
