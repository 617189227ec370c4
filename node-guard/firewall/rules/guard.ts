/** What the guard's rules depend on, and what they count, by whatever backend they are made. */

export type GuardRuleset = {
  /** Exact addresses of the metadata service, both families. */
  readonly metadata: readonly string[]
  /** Exact node-local addresses of the broker, both families. */
  readonly broker: readonly string[]
  /** Interfaces that lead outside, and never to this node's pods; a trailing `*` stands for any rest of the name. */
  readonly uplinks: readonly string[]
  /**
   * Prefixes of this node's pods that are answered by another device than they send by, because the dataplane takes the
   * answers to them itself: behind Cilium's `cilium_host`.
   */
  readonly inner?: readonly string[]
  /** Prefixes of other hosts on interfaces that cannot be told from pods' by their kind. */
  readonly outer?: readonly string[]
}

/** Named counters. */
export const BROKER_COUNTERS = ['broker_outside', 'broker_forwarded'] as const
export const COUNTERS = ['metadata_refused', 'metadata_dropped', ...BROKER_COUNTERS] as const
export type CounterName = (typeof COUNTERS)[number]

/**
 * Whether a Service may claim this metadata address by `externalIPs`, for which kube-proxy's DNAT, or an address that its
 * IPVS gives the node, would send what is meant for the metadata service to pods of the Service. The API server refuses
 * link-local ones; what sends those elsewhere is the operator's, as kube2iam's DNAT, and goes on.
 */
export const isClaimable = (address: string) => !address.startsWith('169.254.')
