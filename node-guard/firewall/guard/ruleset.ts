import type { TableName } from '../nft-table.ts'

export const GUARD_TABLE: TableName = 'inet pod2iam_guard'

/** Named counters of the table. */
export const COUNTERS = [
  'metadata_refused',
  'metadata_dropped',
  'broker_outside',
  'broker_forwarded',
] as const
export type CounterName = (typeof COUNTERS)[number]

export type GuardRuleset = {
  /** Exact addresses of the metadata service, both families. */
  readonly metadata: readonly string[]
  /** Exact node-local addresses of the broker, both families. */
  readonly broker: readonly string[]
  /** Interfaces of the node's default routes. */
  readonly uplinks: readonly string[]
}

/**
 * The guard's own table, as one transaction: there is never a moment without it.
 *
 * - Exact addresses only: the neighbours 169.254.169.253 (DNS), .123 (time) and 169.254.170.23 (EKS Pod Identity)
 *   stay as they are.
 * - No pod interface names: what is *forwarded* to the metadata service does not come from the host.
 * - An own table with base chains of its own: an ACCEPT elsewhere ends only the chain it stands in. −190 is before
 *   mangle (−150) and filter (0), so that the reset wins over another's later drop.
 * - No connection state: established connections are cut too.
 * - `tcp reset`, not ICMP: ICMPv6 errors reach a connecting socket only after a second (measured, kernel 6.18: 1.0 s against 0.1 ms).
 */
export function guardRuleset({ metadata, broker, uplinks }: GuardRuleset): string {
  return `add table ${GUARD_TABLE}
delete table ${GUARD_TABLE}
table ${GUARD_TABLE} {
${COUNTERS.map((name) => `  counter ${name} { }`).join('\n')}
  set metadata4 { type ipv4_addr; ${elements(metadata.filter(isV4))} }
  set metadata6 { type ipv6_addr; ${elements(metadata.filter(isV6))} }
  set broker4 { type ipv4_addr; ${elements(broker.filter(isV4))} }
  set broker6 { type ipv6_addr; ${elements(broker.filter(isV6))} }
  set uplinks { type ifname; ${elements(uplinks.map((name) => JSON.stringify(name)))} }

  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject with icmpx type admin-prohibited
  }

  # The broker's addresses are the node's own, so that a pod's hostPort (DNAT of --dst-type LOCAL), or a Service with
  # such an externalIP, would take the sidecars' tokens. NAT is decided once: here, before dstnat (-100).
  chain pin {
    type nat hook prerouting priority -110; policy accept;
    ip daddr @broker4 dnat ip to ip daddr
    ip6 daddr @broker6 dnat ip6 to ip6 daddr
  }

  # Everything a pod sends is forwarded. To the broker only when its link is absent: then it would leave the node.
  chain forward {
    type filter hook forward priority -190; policy accept;
    ip daddr @metadata4 counter name metadata_refused goto refuse
    ip6 daddr @metadata6 counter name metadata_refused goto refuse
    ip daddr @broker4 counter name broker_forwarded goto refuse
    ip6 daddr @broker6 counter name broker_forwarded goto refuse
  }

  # Sent again by the host in a pod's name, as IPVS does; after nat (-100), with the final destination.
  chain output {
    type filter hook output priority -90; policy accept;
    ip daddr @metadata4 fib saddr type != local counter name metadata_refused goto refuse
    ip6 daddr @metadata6 fib saddr type != local counter name metadata_refused goto refuse
  }

  # Backstop: source-routed packets get their destination after the forward hook. Rejecting is not possible here;
  # before srcnat (100), with the true source.
  chain postrouting {
    type filter hook postrouting priority -150; policy accept;
    ip daddr @metadata4 fib saddr type != local counter name metadata_dropped drop
    ip6 daddr @metadata6 fib saddr type != local counter name metadata_dropped drop
  }

  # The broker is for this node's pods: not for what comes in by an uplink, nor for a source that would be answered
  # by another interface than it came from. From the node itself everything comes by lo.
  chain input {
    type filter hook input priority -190; policy accept;
    ip daddr @broker4 iifname @uplinks counter name broker_outside drop
    ip6 daddr @broker6 iifname @uplinks counter name broker_outside drop
    ip daddr @broker4 iifname != "lo" fib saddr . iif oif missing counter name broker_outside drop
    ip6 daddr @broker6 iifname != "lo" fib saddr . iif oif missing counter name broker_outside drop
  }
}
`
}

const isV6 = (address: string) => address.includes(':')
const isV4 = (address: string) => !isV6(address)
// nft knows no empty list of elements.
const elements = (list: readonly string[]) => (list.length > 0 ? `elements = { ${list.join(', ')} }` : '')
