import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import { HOST_CHAINS } from '../rules/host-network-iptables.ts'

/**
 * Prefixes of chains that programs on the node maintain: ours and the gate's, kube-proxy's, and those of network plugins,
 * meshes and container runtimes. These programs need what is in them, or would put it back. kube2iam and kiam make no
 * chains.
 */
const LIVING_CHAINS = [
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
export const isLivingChain = (chain: string) => LIVING_CHAINS.some((prefix) => chain.startsWith(prefix))
