import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import { HOST_CHAINS } from '../rules/host-network-iptables.ts'

/**
 * Prefixes of chains that programs on the node maintain: ours and the gate's, kube-proxy's, and those of network plugins,
 * meshes and container runtimes. These programs need the rules in them, or would add them again. kube2iam and kiam create
 * no chains.
 */
const MAINTAINED_CHAINS = [
  GUARD_CHAINS,
  HOST_CHAINS,
  'KUBE-',
  'CNI-',
  'AWS-',
  'cali-',
  'CILIUM_',
  'OLD_CILIUM_',
  'FLANNEL-',
  'WEAVE',
  'ANTREA-',
  'OVN-KUBE-',
  'ISTIO_',
  'PROXY_INIT_',
  'DOCKER',
  'NETAVARK',
] as const

/** Whether a program on the node maintains this chain. */
export const isMaintainedChain = (chain: string) =>
  MAINTAINED_CHAINS.some((prefix) => chain.startsWith(prefix))
