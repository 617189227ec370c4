import { BlockList } from 'node:net'
import type { GuardRuleset } from '../rules/guard.ts'

/** What the rules need to know about the node's network: interfaces and prefixes, see `GuardRuleset`. */
export type Topology = Required<Pick<GuardRuleset, 'uplinks' | 'inner' | 'outer'>>

/** A route to a pod that exists only in a table of policy routing, so that the node itself does not use it. */
export type HiddenRoute = { readonly destination: string; readonly device: string }

export type NodeNetwork = Topology & { readonly hidden: readonly HiddenRoute[] }

/** The fields that are used of `ip -json -details link show`. */
export type Link = {
  readonly ifname?: string
  /** The other end, or the device below, if it is in this network namespace. */
  readonly link?: string
  /** The bridge, bond or VRF that this is a port of. */
  readonly master?: string
  readonly linkinfo?: { readonly info_kind?: string }
}

/** The guard's own routing table, see `return-routes.ts`. */
export const RETURN_ROUTE_TABLE = '169254'

/**
 * Kinds of devices that may lead to this node's pods. Every other kind (a network card has none; VLANs, bonds,
 * tunnels, macvlan, and kinds that do not exist yet) leads outside.
 */
const INSIDE = new Set(['veth', 'bridge', 'vrf', 'netkit', 'openvswitch', 'dummy', 'ifb', 'nlmon'])
/** Those of {@link INSIDE} that lead where their ports lead. */
const OF_PORTS = new Set(['bridge', 'vrf'])
/** The routing tables that the node uses for all packets that it sends itself, and our own. */
const USUAL = new Set(['local', 'main', 'default', RETURN_ROUTE_TABLE])

type Route = { readonly destination: string; readonly table: string; readonly hops: readonly Hop[] }
type Hop = { readonly device: string; readonly gateway?: string; readonly source?: string }

/** A prefix this short counts as a default route: VPNs use two routes to half of all addresses each, or routes to all public addresses. */
const HALF = /^[\da-f.:]+\/[0-7]$/
const isDefault = (destination: string) => destination === 'default' || HALF.test(destination)

/** Whether a line of `ip -oneline route show table all` is used. The routes that BGP learns, which may be thousands, are not. */
export const isUsefulRoute = (line: string) =>
  isDefault(line.split(' ', 1)[0] ?? '') || (/^[\da-f]/.test(line) && !/ via (?!.* src )/.test(line))

type Seen = {
  readonly links: readonly Link[]
  /** Veths with an address in a subnet: they lead to other hosts, since a pod's veth has no address, or only the gateway's. */
  readonly externalVeths: readonly string[]
  /** Text of `ip -oneline route show table all`, of both families, see {@link isUsefulRoute}. */
  readonly routes: string
}

/** Classifies a node's interfaces and routes. */
export function classifyNetwork({ links, externalVeths, routes }: Seen): NodeNetwork {
  const parsed = routes.split('\n').flatMap(parseRoute)
  // A pair of veths with both ends on this node leads nowhere else, such as Cilium's cilium_host or a link of two bridges.
  const pairs = new Set(links.filter(isPair).map(({ ifname = '' }) => ifname))
  const uplinks = uplinksOf(links, parsed, pairs)
  const others = externalVeths.filter((name) => !uplinks.has(name) && !pairs.has(name))
  return {
    uplinks: [...new Set([...uplinks].filter(isPlain).map(collapsed))].sort(),
    inner: withoutCovered(innerOf(parsed, pairs)),
    outer: withoutCovered(outerOf(parsed, new Set(others))),
    hidden: hiddenOf(parsed, uplinks),
  }
}

function uplinksOf(
  links: readonly Link[],
  routes: readonly Route[],
  pairs: ReadonlySet<string>,
): ReadonlySet<string> {
  const kinds = new Map(links.map(({ ifname = '', linkinfo }) => [ifname, linkinfo?.info_kind]))
  const leadsOutside = ({ linkinfo }: Link) => !INSIDE.has(linkinfo?.info_kind ?? '')
  const uplinks = new Set(links.filter(leadsOutside).map(({ ifname = '' }) => ifname))
  // Default routes of every table count: strict security groups for pods have a table for each of theirs.
  for (const { destination, hops } of routes)
    if (isDefault(destination)) for (const { device } of hops) if (!pairs.has(device)) uplinks.add(device)
  for (const { ifname = '', master } of links)
    if (master !== undefined && uplinks.has(ifname) && OF_PORTS.has(kinds.get(master) ?? ''))
      uplinks.add(master)
  // lo has the kernel's "unreachable" default route of IPv6.
  uplinks.delete('lo')
  return uplinks
}

const isPair = ({ linkinfo, link }: Link) => linkinfo?.info_kind === 'veth' && link !== undefined

/** The kernel also allows quotes and asterisks in names of interfaces; rules with such a name would not load. */
const isPlain = (device: string) => /^\w[\w.-]*$/.test(device)

/** With security groups for pods such a device is created and removed with every pod; one pattern matches all of them, so that the rules stay the same. */
const collapsed = (device: string) => (device.startsWith('vlan.eth.') ? 'vlan.eth.*' : device)

/** Prefixes of this node's pods that are answered by such a pair: from the route to the gateway's own prefix, not those to other nodes' prefixes. */
function innerOf(routes: readonly Route[], pairs: ReadonlySet<string>): ReadonlySet<string> {
  const inner = new Set<string>()
  for (const { destination, hops } of routes)
    for (const { device, gateway, source } of hops)
      if (pairs.has(device) && destination.includes('/') && contains(destination, gateway ?? source))
        inner.add(destination)
  return inner
}

/** Prefixes of the hosts that these devices reach without a router. */
function outerOf(routes: readonly Route[], devices: ReadonlySet<string>): ReadonlySet<string> {
  const outer = routes.filter(
    ({ destination, hops: [hop] }) =>
      destination.includes('/') &&
      !destination.startsWith('fe80:') &&
      hop !== undefined &&
      hop.gateway === undefined &&
      devices.has(hop.device),
  )
  return new Set(outer.map(({ destination }) => destination))
}

/** Each prefix becomes a rule, so prefixes within another one are left out. */
function withoutCovered(prefixes: ReadonlySet<string>): string[] {
  const length = (prefix: string) => Number(prefix.split('/')[1])
  const covers = (wide: string, narrow: string) =>
    length(wide) < length(narrow) && contains(wide, narrow.split('/')[0])
  const all = [...prefixes]
  return all.filter((narrow) => !all.some((wide) => covers(wide, narrow))).sort()
}

function contains(prefix: string, address: string | undefined): boolean {
  if (address === undefined || address.includes(':') !== prefix.includes(':')) return false
  const [network = '', length = ''] = prefix.split('/')
  const family = prefix.includes(':') ? 'ipv6' : 'ipv4'
  const list = new BlockList()
  list.addSubnet(network, Number(length), family)
  return list.check(address, family)
}

/** The routes to pods that only policy routing has. Where two tables have different routes to a destination, it is unknown which pod is meant, so neither counts. */
function hiddenOf(routes: readonly Route[], uplinks: ReadonlySet<string>): HiddenRoute[] {
  const direct = routes.filter(({ destination, hops }) => {
    const [hop] = hops
    return !isDefault(destination) && hops.length === 1 && hop && hop.gateway === undefined
  })
  const known = new Set(direct.filter(({ table }) => table === 'main').map(({ destination }) => destination))
  const found = new Map<string, Set<string>>()
  for (const { destination, table, hops } of direct) {
    const device = hops[0]?.device ?? ''
    if (USUAL.has(table) || known.has(destination) || uplinks.has(device) || device === 'lo') continue
    // A link-local address belongs to one link, and every table may have it.
    if (destination.startsWith('fe80:')) continue
    found.set(destination, (found.get(destination) ?? new Set()).add(device))
  }
  return [...found].flatMap(([destination, [device = '', ...others]]) =>
    others.length > 0 ? [] : [{ destination, device }],
  )
}

/** Parses `10.244.1.11 dev vlan1 table 101 scope link`; routes of other types (`local`, `blackhole`) begin with the type. */
function parseRoute(line: string): Route[] {
  const [destination = ''] = line.split(' ', 1)
  if (destination !== 'default' && !/^[\d.]+(\/\d+)?$|^[\da-f]*:[\da-f:.]*(\/\d+)?$/.test(destination))
    return []
  const field = (text: string, name: string) => new RegExp(` ${name} (\\S+)`).exec(text)?.[1]
  const hops = line.split(/\\\s*nexthop/).flatMap((text) => {
    const [device, gateway, source] = [field(text, 'dev'), field(text, 'via'), field(text, 'src')]
    if (device === undefined) return []
    return [
      { device, ...(gateway === undefined ? {} : { gateway }), ...(source === undefined ? {} : { source }) },
    ]
  })
  return [{ destination, table: field(line, 'table') ?? 'main', hops }]
}
