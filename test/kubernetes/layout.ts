/** The addresses in a cluster of two nodes on one machine, and the paths on a node. Pure. */

/** The bridge in the namespace of the control plane, the images' registry and the test. */
export const CONTROL_PLANE = '10.90.0.1'
export const API_PORT = 6443
export const REGISTRY_PORT = 5000
export const SERVICES = '10.96.0.0/16'
/** The first address of the range: the Service `kubernetes`. */
export const API_SERVICE = '10.96.0.1'
export const DNS_SERVICE = '10.96.0.10'
export const PODS = '10.244.0.0/16'
export const API_URL = `https://${CONTROL_PLANE}:${API_PORT}`

type ProxyMode = 'iptables' | 'nftables'

export type NodePlan = {
  readonly name: string
  readonly address: string
  /** The address range of this node's pods. */
  readonly subnet: string
  readonly proxyMode: ProxyMode
  /** The end of the node's veth pair at the bridge. */
  readonly link: string
}

/** The first Kubernetes 1.N whose kube-proxy has mode nftables without a feature gate. */
const NFTABLES_MINOR = 31

/** Each kube-proxy mode once; before 1.31 there is only one. */
export function nodesOf(minor: number): readonly NodePlan[] {
  const modes: readonly ProxyMode[] = ['iptables', minor >= NFTABLES_MINOR ? 'nftables' : 'iptables']
  return modes.map((proxyMode, index) => ({
    name: `node-${index + 1}`,
    address: `10.90.0.${11 + index}`,
    subnet: `10.244.${index + 1}.0/24`,
    proxyMode,
    link: `to-node-${index + 1}`,
  }))
}

/** The registries that the nodes know; both are that of the test. */
export const REGISTRIES = ['registry.pod2iam.test', 'mirror.pod2iam.test'] as const
export const TAGS = ['test', 'next'] as const
export const PAUSE = `${REGISTRIES[0]}/pause:${TAGS[0]}`
