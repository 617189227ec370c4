import { BROKER_COUNTERS, COUNTERS, type GuardRuleset, isClaimable } from './guard.ts'
import type { TableName } from './nft.ts'

export const GUARD_TABLE: TableName = 'inet pod2iam_guard'
/** The owned copy, see `ownedRuleset`. Monitors distinguish the two by name, so neither name may contain the other. */
export const OWNED_TABLE: TableName = 'inet pod2iam_owned'

/** What audit mode distinguishes, each by a named counter and a set of sources per family; see `auditRuleset`. */
export const SIGHTS = ['asked', 'taken', 'led'] as const
export type Sight = (typeof SIGHTS)[number]
/** How long the kernel remembers a source after its last packet. */
export const AUDIT_SECONDS = 3600
/** Sources per set: several times the pods of a node, and few enough that spoofed sources cannot fill the kernel's memory. */
export const MAX_AUDIT_SOURCES = 1024

/**
 * The guard's own table, loaded in one transaction, so that there is never a moment without it.
 *
 * - Exact addresses only: the neighbours 169.254.169.253 (DNS), .123 (time) and 169.254.170.23 (EKS Pod Identity)
 *   are not touched.
 * - No names of pod interfaces: what is *forwarded* to the metadata service does not come from the host.
 * - A table with base chains of its own: an ACCEPT in another base chain ends only that chain. −190 is before mangle
 *   (−150) and filter (0), so that our reset comes before a drop of another program.
 * - No connection state: established connections are reset, too.
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
 * The same as {@link guardRuleset} in a table that only the process which loads it can change, and that ends with that
 * process. Its priorities are one step later, so that the plain table decides and counts first.
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
 * For `--mode=audit`: the same table, except that packets to the metadata service are counted by source, not refused.
 *
 * - `asked`: sent to it. Counted before any DNAT, and before raw (−300), where another program may drop or not track.
 * - `taken`: of these, packets that the DNAT of another tool sent elsewhere, as kube2iam's and kiam's does.
 * - `led`: packets that the DNAT of another program sends there from another address, such as that of a Service.
 *
 * NAT happens at −100, whatever the priority of a nat chain; a chain at −99 sees its result.
 */
export function auditRuleset(rules: GuardRuleset): string {
  return `table ${GUARD_TABLE} {
${counters([...SIGHTS.map((sight) => `audit_${sight}`), ...BROKER_COUNTERS])}
${addressSets(rules)}
${SIGHTS.map(
  (
    sight,
  ) => `  set ${sight}4 { type ipv4_addr; flags dynamic,timeout; timeout ${AUDIT_SECONDS}s; size ${MAX_AUDIT_SOURCES}; }
  set ${sight}6 { type ipv6_addr; flags dynamic,timeout; timeout ${AUDIT_SECONDS}s; size ${MAX_AUDIT_SOURCES}; }`,
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

/** The rules that refuse; `later` is added to every priority. */
function refusal(rules: GuardRuleset, later: 0 | 1): string {
  return `${addressSets(rules)}
${addressSet('claimable', rules.metadata.filter(isClaimable))}

${REFUSE}

${pin(later)}

  # As for the broker: no DNAT of a Service takes what pods or the host send here. The host gets true answers, and pods
  # are refused below.
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

  # The address is the node's own only where IPVS made it so; IPVS takes the packets right after this hook.
  chain claimed {
    type filter hook input priority ${-190 + later}; policy accept;
    ip daddr @claimable4 counter name metadata_refused goto refuse
    ip6 daddr @claimable6 counter name metadata_refused goto refuse
  }

  # Everything a pod sends is forwarded; to the broker only while its link is absent, and then it would leave the node.
  chain forward {
    type filter hook forward priority ${-190 + later}; policy accept;
    ip daddr @metadata4 counter name metadata_refused goto refuse
    ip6 daddr @metadata6 counter name metadata_refused goto refuse
${BROKER_FORWARD}
  }

  # Packets that the host sends again with a pod's source address, as IPVS does; after nat (-100), where the destination
  # is final.
  chain output {
    type filter hook output priority ${-90 + later}; policy accept;
    ip daddr @metadata4 fib saddr type != local counter name metadata_refused goto refuse
    ip6 daddr @metadata6 fib saddr type != local counter name metadata_refused goto refuse
  }

  # Backstop: source-routed packets get their destination after the forward hook. A reject is not possible here. Before
  # srcnat (100), so that the source is the true one. A packet that came in by an interface is not the host's own,
  # whatever its source; before kernel 5.7 the interface is not known here. For IPv4 only, since the host's own neighbour
  # solicitations have such an interface.
  chain postrouting {
    type filter hook postrouting priority ${-150 + later}; policy accept;
    ip daddr @metadata4 iif != 0 counter name metadata_dropped drop
    ip daddr @metadata4 fib saddr type != local counter name metadata_dropped drop
    ip6 daddr @metadata6 fib saddr type != local counter name metadata_dropped drop
  }

${input(later)}`
}

// These sets are not loaded as sets: each element becomes a rule of its own (`nft/commands.ts`).
function addressSets({ metadata, broker, uplinks, inner = [], outer = [] }: GuardRuleset): string {
  return `${addressSet('metadata', metadata)}
${addressSet('broker', broker)}
${addressSet('inner', inner)}
${addressSet('outer', outer)}
  set uplinks { type ifname; ${elements(uplinks.map((name) => JSON.stringify(name)))} }`
}

export function addressSet(name: string, addresses: readonly string[]): string {
  const isV6 = (address: string) => address.includes(':')
  return `  set ${name}4 { type ipv4_addr; ${elements(addresses.filter((address) => !isV6(address)))} }
  set ${name}6 { type ipv6_addr; ${elements(addresses.filter(isV6))} }`
}

export const REFUSE = `  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject with icmpx type admin-prohibited
  }`

const BROKER_FORWARD = `    ip daddr @broker4 counter name broker_forwarded goto refuse
    ip6 daddr @broker6 counter name broker_forwarded goto refuse`

// The broker's addresses are the node's own, so a pod's hostPort (DNAT of --dst-type LOCAL), or a Service with such an
// externalIP, would receive the sidecars' tokens. The NAT of a connection is decided once: here, before dstnat (-100).
const pin = (later: number) => `  chain pin {
    type nat hook prerouting priority ${-110 + later}; policy accept;
    ip daddr @broker4 dnat ip to ip daddr
    ip6 daddr @broker6 dnat ip6 to ip6 daddr
  }`

// The broker is for this node's pods only: not for packets that come in by an uplink, nor for a source to which the
// answer would leave by another interface. `fib` looks up the route of that answer, whose source is the broker's address;
// return-routes.ts keeps this route correct under policy routing. Packets of the node itself come in by lo.
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
// An empty list of elements is a syntax error in nft.
const elements = (list: readonly string[]) => (list.length > 0 ? `elements = { ${list.join(', ')} }` : '')
