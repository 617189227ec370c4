import type { TableName } from '../nft/table-content.ts'
import { BROKER_COUNTERS, COUNTERS, type GuardRuleset, isClaimable } from './guard.ts'

export const GUARD_TABLE: TableName = 'inet pod2iam_guard'
/** Its twin, see `ownedRuleset`. The name must not contain the other's: monitors tell them apart by it. */
export const OWNED_TABLE: TableName = 'inet pod2iam_owned'

/** What audit mode tells apart, each by a named counter and a set of sources per family; see `auditRuleset`. */
export const SIGHTS = ['asked', 'taken', 'led'] as const
export type Sight = (typeof SIGHTS)[number]
/** How long the kernel remembers a source that is not seen again. */
export const AUDIT_SECONDS = 3600
/** Sources per set: several times the pods of a node, so that spoofed sources cannot fill the kernel's memory. */
export const AUDIT_SIZE = 1024

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
export function guardRuleset(rules: GuardRuleset): string {
  return `table ${GUARD_TABLE} {
${counters(COUNTERS)}
${refusal(rules, 0)}
}
`
}

/**
 * The same as {@link guardRuleset} in a table that only the process that loads it can change, and that ends with it.
 * One step after the plain table, whose counters go on as usual.
 */
export function ownedRuleset(rules: GuardRuleset): string {
  return `table ${OWNED_TABLE} {
  flags owner
${counters(COUNTERS)}
${refusal(rules, 1)}
}
`
}

/**
 * For `--mode=audit`: the same table, but what is sent to the metadata service is counted by source instead of refused.
 *
 * - `asked`: sent to it, counted before any DNAT, even before raw (−300), where another may drop or not track.
 * - `taken`: of these, what another tool's DNAT gave another destination, as kube2iam's and kiam's does.
 * - `led`: what another's DNAT sends there, from an address such as that of a Service.
 *
 * NAT happens at −100, whatever priority a nat chain gives itself; −99 sees its result.
 */
export function auditRuleset(rules: GuardRuleset): string {
  return `table ${GUARD_TABLE} {
${counters([...SIGHTS.map((sight) => `audit_${sight}`), ...BROKER_COUNTERS])}
${addressSets(rules)}
${SIGHTS.map(
  (
    sight,
  ) => `  set ${sight}4 { type ipv4_addr; flags dynamic,timeout; timeout ${AUDIT_SECONDS}s; size ${AUDIT_SIZE}; }
  set ${sight}6 { type ipv6_addr; flags dynamic,timeout; timeout ${AUDIT_SECONDS}s; size ${AUDIT_SIZE}; }`,
).join('\n')}

${REFUSE}

${pin(0)}

  chain audit_asked {
    type filter hook prerouting priority -310; policy accept;
    ip daddr @metadata4 counter name audit_asked update @asked4 { ip saddr counter }
    ip6 daddr @metadata6 counter name audit_asked update @asked6 { ip6 saddr counter }
  }

  chain audit_nat {
    type filter hook prerouting priority -99; policy accept;
    ct direction original ct original ip daddr @metadata4 ip daddr != @metadata4 counter name audit_taken update @taken4 { ip saddr counter }
    ct direction original ct original ip6 daddr @metadata6 ip6 daddr != @metadata6 counter name audit_taken update @taken6 { ip6 saddr counter }
    ct direction original ct original ip daddr != @metadata4 ip daddr @metadata4 counter name audit_led update @led4 { ip saddr counter }
    ct direction original ct original ip6 daddr != @metadata6 ip6 daddr @metadata6 counter name audit_led update @led6 { ip6 saddr counter }
  }

  chain forward {
    type filter hook forward priority -190; policy accept;
${BROKER_FORWARD}
  }

${input(0)}
}
`
}

/** All that refuses; `later` is added to every priority. */
function refusal(rules: GuardRuleset, later: 0 | 1): string {
  const claimable = rules.metadata.filter(isClaimable)
  return `${addressSets(rules)}
  set claimable4 { type ipv4_addr; ${elements(claimable.filter(isV4))} }
  set claimable6 { type ipv6_addr; ${elements(claimable.filter(isV6))} }

${REFUSE}

${pin(later)}

  # As for the broker: no DNAT of a Service takes what pods or the host send here, so that the host gets true answers,
  # and pods are refused below.
  chain pin_claimable {
    type nat hook prerouting priority ${-110 + later}; policy accept;
    ip daddr @claimable4 dnat ip to ip daddr
    ip6 daddr @claimable6 dnat ip6 to ip6 daddr
  }

  chain pin_output {
    type nat hook output priority ${-110 + later}; policy accept;
    ip daddr @claimable4 dnat ip to ip daddr
    ip6 daddr @claimable6 dnat ip6 to ip6 daddr
  }

  # The node's own address only where IPVS made it so, which takes its packets right after this hook.
  chain claimed {
    type filter hook input priority ${-190 + later}; policy accept;
    ip daddr @claimable4 counter name metadata_refused goto refuse
    ip6 daddr @claimable6 counter name metadata_refused goto refuse
  }

  # Everything a pod sends is forwarded. To the broker only when its link is absent: then it would leave the node.
  chain forward {
    type filter hook forward priority ${-190 + later}; policy accept;
    ip daddr @metadata4 counter name metadata_refused goto refuse
    ip6 daddr @metadata6 counter name metadata_refused goto refuse
${BROKER_FORWARD}
  }

  # Sent again by the host in a pod's name, as IPVS does; after nat (-100), with the final destination.
  chain output {
    type filter hook output priority ${-90 + later}; policy accept;
    ip daddr @metadata4 fib saddr type != local counter name metadata_refused goto refuse
    ip6 daddr @metadata6 fib saddr type != local counter name metadata_refused goto refuse
  }

  # Backstop: source-routed packets get their destination after the forward hook. Rejecting is not possible here;
  # before srcnat (100), with the true source. What came in by an interface is none of the host's own, whatever its
  # source; before kernel 5.7 no interface is known here. IPv4 alone: the host's neighbour solicitations have one.
  chain postrouting {
    type filter hook postrouting priority ${-150 + later}; policy accept;
    ip daddr @metadata4 iif != 0 counter name metadata_dropped drop
    ip daddr @metadata4 fib saddr type != local counter name metadata_dropped drop
    ip6 daddr @metadata6 fib saddr type != local counter name metadata_dropped drop
  }

${input(later)}`
}

// The elements of these sets are written out, a rule for each (`nft/commands.ts`).
function addressSets({ metadata, broker, uplinks, inner = [], outer = [] }: GuardRuleset): string {
  return `  set metadata4 { type ipv4_addr; ${elements(metadata.filter(isV4))} }
  set metadata6 { type ipv6_addr; ${elements(metadata.filter(isV6))} }
  set broker4 { type ipv4_addr; ${elements(broker.filter(isV4))} }
  set broker6 { type ipv6_addr; ${elements(broker.filter(isV6))} }
  set inner4 { type ipv4_addr; ${elements(inner.filter(isV4))} }
  set inner6 { type ipv6_addr; ${elements(inner.filter(isV6))} }
  set outer4 { type ipv4_addr; ${elements(outer.filter(isV4))} }
  set outer6 { type ipv6_addr; ${elements(outer.filter(isV6))} }
  set uplinks { type ifname; ${elements(uplinks.map((name) => JSON.stringify(name)))} }`
}

const REFUSE = `  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject with icmpx type admin-prohibited
  }`

const BROKER_FORWARD = `    ip daddr @broker4 counter name broker_forwarded goto refuse
    ip6 daddr @broker6 counter name broker_forwarded goto refuse`

// The broker's addresses are the node's own, so that a pod's hostPort (DNAT of --dst-type LOCAL), or a Service with
// such an externalIP, would take the sidecars' tokens. NAT is decided once: here, before dstnat (-100).
const pin = (later: number) => `  chain pin {
    type nat hook prerouting priority ${-110 + later}; policy accept;
    ip daddr @broker4 dnat ip to ip daddr
    ip6 daddr @broker6 dnat ip6 to ip6 daddr
  }`

// The broker is for this node's pods: not for what comes in by an uplink, nor for a source that would be answered by
// another interface than it came from. The answer's own way is asked for (its source is the broker's address), which
// answer-routes.ts keeps right where policy routing leads astray. From the node itself everything comes by lo.
const input = (later: number) => `  chain input {
    type filter hook input priority ${-190 + later}; policy accept;
    ip daddr @broker4 iifname @uplinks counter name broker_outside drop
    ip6 daddr @broker6 iifname @uplinks counter name broker_outside drop
    ip daddr @broker4 iifname != "lo" ip saddr @outer4 counter name broker_outside drop
    ip6 daddr @broker6 iifname != "lo" ip6 saddr @outer6 counter name broker_outside drop
    ip daddr @broker4 iifname != "lo" ip saddr != @inner4 fib saddr . iif oif missing counter name broker_outside drop
    ip6 daddr @broker6 iifname != "lo" ip6 saddr != @inner6 fib saddr . iif oif missing counter name broker_outside drop
  }`

const counters = (names: readonly string[]) => names.map((name) => `  counter ${name} { }`).join('\n')
const isV6 = (address: string) => address.includes(':')
const isV4 = (address: string) => !isV6(address)
// nft knows no empty list of elements.
const elements = (list: readonly string[]) => (list.length > 0 ? `elements = { ${list.join(', ')} }` : '')
