/** What the rules about pods on the host network say, whatever makes them. */
export type HostNetworkRuleset = {
  /** Exact addresses of the metadata service, both families. */
  readonly metadata: readonly string[]
  /** Addresses of the broker on this node, both families. */
  readonly broker: readonly string[]
  /** The cgroup of the node guard's pod, the only one that may listen on the broker's port. */
  readonly own: string
  /** `audit` counts, `block` refuses, too. */
  readonly mode: 'audit' | 'block'
  /** The cgroup of all pods, below the root of cgroup v2, such as `kubepods.slice`. */
  readonly root: string
  /** Pods that are told apart, each by its own cgroup. */
  readonly pods: readonly { readonly cgroup: string; readonly counter: string; readonly allowed: boolean }[]
}

/** Packets of pods that are not told apart. */
export const OTHER_COUNTER = 'host_other'
/** Packets for, or from, a pod that listens on the broker's port without being the node guard. */
export const BROKER_PORT_COUNTER = 'host_broker_port'
/** Packets by which the firewall proves that the rules see pods. */
export const PROOF_COUNTER = 'host_proof'
/** The discard protocol: nothing of the metadata service is there, so that these packets are missed by nobody. */
export const PROOF_PORT = 9
