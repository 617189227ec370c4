/** What the rules about pods on the host network depend on, whichever backend makes them. */
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
  /** Pods that have their own counter and verdict, each recognised by its cgroup. */
  readonly pods: readonly { readonly cgroup: string; readonly counter: string; readonly allowed: boolean }[]
}

/** Packets of all other pods. */
export const OTHER_COUNTER = 'host_other'
/** Packets for, or from, a pod that listens on the broker's port without being the node guard. */
export const BROKER_PORT_COUNTER = 'host_broker_port'
/** Packets by which the firewall proves that the rules see pods. */
export const PROOF_COUNTER = 'host_proof'
/** The discard protocol: nothing of the metadata service is there, so that nobody misses these packets. */
export const PROOF_PORT = 9
