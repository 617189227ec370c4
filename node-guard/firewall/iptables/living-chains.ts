import { GUARD_CHAINS } from '../rules/guard-iptables.ts'

/**
 * How the names of chains begin that a living program of the node keeps: ours and the gate's, kube-proxy's, those of
 * network plugins, meshes and container runtimes. What is removed there they would miss, or put back. kube2iam and kiam
 * make no chains.
 */
const LIVING_CHAINS = [
  GUARD_CHAINS,
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

/** Whether a living program keeps this chain. */
export const isLivingChain = (chain: string) => LIVING_CHAINS.some((prefix) => chain.startsWith(prefix))
