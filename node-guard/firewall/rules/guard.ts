/** What the guard's rules depend on and what they count, whichever backend makes them. */

export type GuardRuleset = {
  /** Exact addresses of the metadata service, both families. */
  readonly metadata: readonly string[]
  /** Exact node-local addresses of the broker, both families. */
  readonly broker: readonly string[]
  /** Interfaces that lead outside and never to pods of this node; a trailing `*` matches the rest of the name. */
  readonly uplinks: readonly string[]
  /**
   * Prefixes of this node's pods that send by one device and are answered by another, because the dataplane delivers
   * the answers itself: behind Cilium's `cilium_host`.
   */
  readonly inner?: readonly string[]
  /** Prefixes of other hosts on interfaces of the same kind as those of pods. */
  readonly outer?: readonly string[]
}

/** Named counters. */
export const BROKER_COUNTERS = ['broker_outside', 'broker_forwarded'] as const
export const COUNTERS = ['metadata_refused', 'metadata_dropped', ...BROKER_COUNTERS] as const
export type CounterName = (typeof COUNTERS)[number]

/**
 * Whether a Service may claim this metadata address by `externalIPs`. kube-proxy would then send requests for the
 * metadata service to pods of the Service, by DNAT or by making the address the node's own (IPVS). The API server refuses
 * link-local `externalIPs`; DNAT of link-local addresses is the operator's choice, such as kube2iam's, and keeps working.
 */
export const isClaimable = (address: string) => !address.startsWith('169.254.')
