/**
 * Probes of the guard's ruleset on a node, each with a name and an outcome in words. Together they depend on every line
 * of the ruleset. A datagram that must be dropped is followed by one that must arrive, so that no probe waits for silence.
 */
import { BROKER_ADDRESSES, BROKER_PORT, METADATA_ADDRESSES } from '../../common/addresses.ts'
import { ensureLink } from '../../node-guard/firewall/node/broker-link.ts'
import type { GuardRuleset } from '../../node-guard/firewall/rules/guard.ts'
import { guardRuleset } from '../../node-guard/firewall/rules/guard-nft.ts'
import { until } from '../support/until.ts'
import {
  CLAIMABLE,
  CLAIMED,
  fenceOf,
  NEIGHBOURS,
  type NetworkName,
  nodeExec,
  POD1,
  type TestNode,
  UNLINKED,
} from './node.ts'

const [METADATA4, METADATA6] = METADATA_ADDRESSES
const [BROKER4, BROKER6] = BROKER_ADDRESSES
const [NEIGHBOUR4, NEIGHBOUR6] = [fenceOf(METADATA4), fenceOf(METADATA6)]
const NODE4 = '10.0.0.10'
export const UDP_PORT = 5300
/** What a pod sends to a neighbour on this port gets the metadata address only after our forward chain. */
const LATE_PORT = 5301
/** The same, and it also gets the node's address as its source, as if the host had sent it. */
const LATE_AS_NODE_PORT = 5303
/** What the node sends to a neighbour on this port gets both addresses only after our output chain. */
const LATE_FOREIGN_PORT = 5304
/** What the node sends to this port leaves with a pod's address as its source. */
const FOREIGN_PORT = 8081

/** Packets to the broker on this port are taken by another DNAT: a hostPort, as the CNI plugin portmap creates it. */
const HOST_PORT = 8082

/** Packets to a metadata address on this port are taken by kube-proxy's DNAT for a Service with that externalIP. */
const SERVICE_PORT = 8085
const BEHIND_SERVICE_PORT = 8086

/** A source outside, which the node answers through the interface from which it came. */
const OUTER = ['10.78.0.1', 'fd00:78::1'] as const
const hostPrefix = (address: string) => `${address}/${address.includes(':') ? 128 : 32}`
/** A pod's sources that the node would answer through another interface, as with Cilium. */
const INNER = ['10.77.0.1', 'fd00:77::1'] as const

/** The rules under test: the real addresses, others that a Service may claim, and broker addresses whose link is absent. */
export const RULES: Required<GuardRuleset> = {
  metadata: [...METADATA_ADDRESSES, CLAIMABLE[0], ...CLAIMED],
  broker: [...BROKER_ADDRESSES, ...UNLINKED],
  uplinks: ['eth0'],
  inner: INNER.map(hostPrefix),
  outer: OUTER.map(hostPrefix),
}
export const RULESET = guardRuleset(RULES)

/** Source routing (LSRR, segment routing) as our forward chain sees it at any priority, and IPVS as our output chain sees it. */
const NODE_TABLE = `table inet test_rewrite {
  chain late {
    type filter hook forward priority 10; policy accept;
    ip daddr 169.254.169.253 udp dport ${LATE_PORT} ip daddr set ${METADATA4}
    ip6 daddr fd00:ec2::253 udp dport ${LATE_PORT} ip6 daddr set ${METADATA6}
    ip daddr 169.254.169.253 udp dport ${LATE_AS_NODE_PORT} ip daddr set ${METADATA4} ip saddr set ${NODE4}
  }
  chain late_foreign {
    type filter hook output priority 10; policy accept;
    ip daddr 169.254.169.253 udp dport ${LATE_FOREIGN_PORT} ip daddr set ${METADATA4} ip saddr set ${POD1[0]}
  }
  chain foreign {
    type filter hook output priority -200; policy accept;
    ip daddr ${METADATA4} tcp dport ${FOREIGN_PORT} ip saddr set ${POD1[0]}
    ip6 daddr ${METADATA6} tcp dport ${FOREIGN_PORT} ip6 saddr set ${POD1[1]}
  }
  chain hostport {
    type nat hook prerouting priority -99; policy accept;
    meta nfproto ipv4 fib daddr type local tcp dport ${HOST_PORT} dnat ip to 10.0.0.2:80
    meta nfproto ipv6 fib daddr type local tcp dport ${HOST_PORT} dnat ip6 to [fd00:10::2]:80
    ip daddr ${CLAIMABLE[0]} tcp dport ${SERVICE_PORT} dnat ip to 10.0.0.2:${BEHIND_SERVICE_PORT}
    ip6 daddr ${CLAIMABLE[1]} tcp dport ${SERVICE_PORT} dnat ip6 to [fd00:10::2]:${BEHIND_SERVICE_PORT}
  }
  chain service_output {
    type nat hook output priority -99; policy accept;
    ip daddr ${CLAIMABLE[0]} tcp dport ${SERVICE_PORT} dnat ip to 10.0.0.2:${BEHIND_SERVICE_PORT}
    ip6 daddr ${CLAIMABLE[1]} tcp dport ${SERVICE_PORT} dnat ip6 to [fd00:10::2]:${BEHIND_SERVICE_PORT}
  }
}`

const POD_TABLE = `table inet test_tally {
  counter reset4 { }
  counter reset6 { }
  chain arrivals {
    type filter hook prerouting priority -300; policy accept;
    ip saddr ${METADATA4} tcp sport ${FOREIGN_PORT} tcp flags & rst == rst counter name reset4
    ip6 saddr ${METADATA6} tcp sport ${FOREIGN_PORT} tcp flags & rst == rst counter name reset6
  }
}`

const AS_NODE = 'pod in the node’s name → metadata, source-routed, IPv4'

export type Outcomes = Readonly<Record<string, string>>

/** Creates the listeners, the broker's link and the test tables; the caller loads the ruleset. */
export async function prepare(node: TestNode): Promise<void> {
  await ensureLink(nodeExec(node), BROKER_ADDRESSES)
  await node.must('node', ['nft', '-f', '-'], NODE_TABLE)
  await node.must('pod1', ['nft', '-f', '-'], POD_TABLE)
  const aws = await node.agent('aws')
  const host = await node.agent('node')
  for (const address of ['0.0.0.0', '::']) {
    for (const port of [80, FOREIGN_PORT, SERVICE_PORT])
      await aws.listen({ host: address, port, name: 'aws' })
    await aws.listen({ host: address, port: BEHIND_SERVICE_PORT, name: 'service' })
  }
  for (const address of CLAIMED) await host.listen({ host: address, port: 80, name: 'service' })
  for (const address of BROKER_ADDRESSES)
    for (const port of [BROKER_PORT, HOST_PORT]) await host.listen({ host: address, port, name: 'broker' })
  for (const port of [UDP_PORT, LATE_PORT, LATE_AS_NODE_PORT, LATE_FOREIGN_PORT]) await aws.receive({ port })
  await host.receive({ port: UDP_PORT })
}

/** Runs all probes at once. It takes about 100 ms when everything is refused as it should be, and over a second in case of silence. */
export async function probe(node: TestNode): Promise<Outcomes> {
  const tcp = (from: NetworkName, host: string, port: number) => async () =>
    (await (await node.agent(from)).tcp({ host, port, fence: fenceOf(host) })).outcome
  const fenced = (from: NetworkName, host: string, port: number) =>
    datagram(node, from, [host, port], 'aws', fenceOf(host))
  const udp = (from: NetworkName, host: string) => async () =>
    (await node.agent(from)).udp({ host, port: UDP_PORT, payload: 'x', fence: fenceOf(host) })
  const probes: Record<string, () => Promise<string>> = {
    'pod → metadata, TCP, IPv4': tcp('pod1', METADATA4, 80),
    'pod → metadata, TCP, IPv6': tcp('pod1', METADATA6, 80),
    'pod → metadata, UDP, IPv4': udp('pod1', METADATA4),
    'pod → metadata, UDP, IPv6': udp('pod1', METADATA6),
    'pod → metadata, source-routed, IPv4': fenced('pod1', NEIGHBOUR4, LATE_PORT),
    'pod → metadata, source-routed, IPv6': fenced('pod1', NEIGHBOUR6, LATE_PORT),
    [AS_NODE]: fenced('pod1', NEIGHBOUR4, LATE_AS_NODE_PORT),
    'node in a pod’s name → metadata, late, IPv4': fenced('node', NEIGHBOUR4, LATE_FOREIGN_PORT),
    'node in a pod’s name → metadata, IPv4': foreign(node, METADATA4, 'reset4'),
    'node in a pod’s name → metadata, IPv6': foreign(node, METADATA6, 'reset6'),
    'node → metadata, IPv4': tcp('node', METADATA4, 80),
    'node → metadata, IPv6': tcp('node', METADATA6, 80),
    'pod → metadata that a Service claims, IPv4': tcp('pod1', CLAIMABLE[0], SERVICE_PORT),
    'pod → metadata that a Service claims, IPv6': tcp('pod1', CLAIMABLE[1], SERVICE_PORT),
    'node → metadata that a Service claims, IPv4': tcp('node', CLAIMABLE[0], SERVICE_PORT),
    'node → metadata that a Service claims, IPv6': tcp('node', CLAIMABLE[1], SERVICE_PORT),
    'pod → metadata that IPVS made the node’s own, IPv4': tcp('pod1', CLAIMED[0], 80),
    'pod → metadata that IPVS made the node’s own, IPv6': tcp('pod1', CLAIMED[1], 80),
    'pod → broker, IPv4': tcp('pod1', BROKER4, BROKER_PORT),
    'pod → broker, IPv6': tcp('pod1', BROKER6, BROKER_PORT),
    'node → broker, IPv4': tcp('node', BROKER4, BROKER_PORT),
    'node → broker, IPv6': tcp('node', BROKER6, BROKER_PORT),
    'pod → broker on a port that is a hostPort, IPv4': tcp('pod1', BROKER4, HOST_PORT),
    'pod → broker on a port that is a hostPort, IPv6': tcp('pod1', BROKER6, HOST_PORT),
    'pod → broker without link, IPv4': tcp('pod1', UNLINKED[0], 80),
    'pod → broker without link, IPv6': tcp('pod1', UNLINKED[1], 80),
    'uplink → broker, IPv4': datagram(node, 'aws', [BROKER4, UDP_PORT], 'node', '10.0.0.10'),
    'uplink → broker, IPv6': datagram(node, 'aws', [BROKER6, UDP_PORT], 'node', 'fd00:10::10'),
    'other interface → broker, IPv4': datagram(node, 'outside', [BROKER4, UDP_PORT], 'node', '10.9.0.1'),
    'other interface → broker, IPv6': datagram(node, 'outside', [BROKER6, UDP_PORT], 'node', 'fd00:9::1'),
  }
  for (const address of NEIGHBOURS) probes[`pod → ${address}`] = tcp('pod1', address, 80)
  const outcomes = await Promise.all(
    Object.entries(probes).map(async ([name, run]) => [name, await run()] as const),
  )
  return Object.fromEntries(outcomes)
}

/** The outcomes of {@link probe} when the block is as it should be. */
export const AS_DESIGNED: Outcomes = {
  'pod → metadata, TCP, IPv4': 'ECONNREFUSED',
  'pod → metadata, TCP, IPv6': 'ECONNREFUSED',
  'pod → metadata, UDP, IPv4': 'EHOSTUNREACH',
  'pod → metadata, UDP, IPv6': 'EACCES',
  'pod → metadata, source-routed, IPv4': 'dropped',
  'pod → metadata, source-routed, IPv6': 'dropped',
  [AS_NODE]: 'dropped',
  'node in a pod’s name → metadata, late, IPv4': 'dropped',
  'node in a pod’s name → metadata, IPv4': 'reset to the pod',
  'node in a pod’s name → metadata, IPv6': 'reset to the pod',
  'node → metadata, IPv4': 'aws',
  'node → metadata, IPv6': 'aws',
  'pod → metadata that a Service claims, IPv4': 'ECONNREFUSED',
  'pod → metadata that a Service claims, IPv6': 'ECONNREFUSED',
  'node → metadata that a Service claims, IPv4': 'aws',
  'node → metadata that a Service claims, IPv6': 'aws',
  'pod → metadata that IPVS made the node’s own, IPv4': 'ECONNREFUSED',
  'pod → metadata that IPVS made the node’s own, IPv6': 'ECONNREFUSED',
  'pod → broker, IPv4': 'broker',
  'pod → broker, IPv6': 'broker',
  'node → broker, IPv4': 'broker',
  'node → broker, IPv6': 'broker',
  'pod → broker on a port that is a hostPort, IPv4': 'broker',
  'pod → broker on a port that is a hostPort, IPv6': 'broker',
  'pod → broker without link, IPv4': 'ECONNREFUSED',
  'pod → broker without link, IPv6': 'ECONNREFUSED',
  'uplink → broker, IPv4': 'dropped',
  'uplink → broker, IPv6': 'dropped',
  'other interface → broker, IPv4': 'dropped',
  'other interface → broker, IPv6': 'dropped',
  ...Object.fromEntries(NEIGHBOURS.map((address) => [`pod → ${address}`, 'aws'])),
}

/** The outcomes of {@link probe} without any rules: each of these is a hole that the ruleset closes. */
export const WITHOUT_RULES: Outcomes = {
  ...AS_DESIGNED,
  'pod → metadata, TCP, IPv4': 'aws',
  'pod → metadata, TCP, IPv6': 'aws',
  'pod → metadata, UDP, IPv4': 'sent',
  'pod → metadata, UDP, IPv6': 'sent',
  'pod → metadata, source-routed, IPv4': 'arrived',
  'pod → metadata, source-routed, IPv6': 'arrived',
  [AS_NODE]: 'arrived',
  'node in a pod’s name → metadata, late, IPv4': 'arrived',
  'node in a pod’s name → metadata, IPv4': 'silence',
  'node in a pod’s name → metadata, IPv6': 'silence',
  'pod → metadata that a Service claims, IPv4': 'service',
  'pod → metadata that a Service claims, IPv6': 'service',
  'node → metadata that a Service claims, IPv4': 'service',
  'node → metadata that a Service claims, IPv6': 'service',
  'pod → metadata that IPVS made the node’s own, IPv4': 'service',
  'pod → metadata that IPVS made the node’s own, IPv6': 'service',
  'pod → broker on a port that is a hostPort, IPv4': 'aws',
  'pod → broker on a port that is a hostPort, IPv6': 'aws',
  'pod → broker without link, IPv4': 'aws',
  'pod → broker without link, IPv6': 'aws',
  'uplink → broker, IPv4': 'arrived',
  'uplink → broker, IPv6': 'arrived',
  'other interface → broker, IPv4': 'arrived',
  'other interface → broker, IPv6': 'arrived',
}

/** The outcomes of {@link probe} with iptables, which cannot match the input interface of a packet that leaves. */
export const AS_DESIGNED_BY_IPTABLES: Outcomes = { ...AS_DESIGNED, [AS_NODE]: 'arrived' }

/** Creates what {@link probeWays} needs. */
export async function prepareWays(node: TestNode): Promise<void> {
  for (const [network, addresses] of [
    ['pod1', INNER],
    ['outside', OUTER],
  ] as const)
    for (const address of addresses)
      await node.must(network, ['ip', 'addr', 'add', hostPrefix(address), 'dev', 'lo'])
  for (const address of OUTER)
    await node.must('node', ['ip', 'route', 'add', hostPrefix(address), 'dev', 'eth1'])
}

/** Probes sources that the rules know by their prefix. */
export async function probeWays(node: TestNode): Promise<Outcomes> {
  const outcomes: Record<string, string> = {}
  for (const [index, broker] of BROKER_ADDRESSES.entries()) {
    const family = index === 0 ? 'IPv4' : 'IPv6'
    const probe = (from: NetworkName, fence: string, source = '') =>
      datagram(node, from, [broker, UDP_PORT], 'node', fence, source)()
    outcomes[`inner pod → broker, ${family}`] = await probe('pod1', broker, INNER[index])
    const wire = index === 0 ? '10.9.0.1' : 'fd00:9::1'
    outcomes[`outer host → broker, ${family}`] = await probe('outside', wire, OUTER[index])
  }
  return outcomes
}

/** The outcomes of {@link probeWays} when the rules are as they should be. */
export const WAYS_AS_DESIGNED: Outcomes = {
  'inner pod → broker, IPv4': 'arrived',
  'inner pod → broker, IPv6': 'arrived',
  'outer host → broker, IPv4': 'dropped',
  'outer host → broker, IPv6': 'dropped',
}

let sent = 0

/** Sends a datagram, then one to `fence` that must arrive: by then the first one has arrived, too, or never will. */
export function datagram(
  node: TestNode,
  from: NetworkName,
  [host, port]: readonly [string, number],
  to: NetworkName,
  fence: string,
  source?: string,
): () => Promise<string> {
  return async () => {
    const [sender, receiver] = await Promise.all([node.agent(from), node.agent(to)])
    const payload = `probe-${++sent}`
    await sender.udp({ host, port, payload, ...(source === undefined ? {} : { from: source }) })
    await until(`a datagram from ${from} to ${fence}`, async () => {
      // It is sent again each time, since a datagram may be lost during a neighbour lookup.
      await sender.udp({ host: fence, port: UDP_PORT, payload: `fence-${payload}` })
      return (await receiver.received({})).includes(`fence-${payload}`)
    })
    return (await receiver.received({})).includes(payload) ? 'arrived' : 'dropped'
  }
}

/** Whether a connection attempt of the node with a pod's source address causes a reset to the pod. */
function foreign(node: TestNode, host: string, counter: string): () => Promise<string> {
  return async () => {
    const resets = async () => {
      const list = await node.must('pod1', ['nft', '-j', 'list', 'counter', 'inet', 'test_tally', counter])
      return /"packets": (\d+)/.exec(list)?.[1]
    }
    const before = await resets()
    await (await node.agent('node')).tcp({ host, port: FOREIGN_PORT, timeout: 60 })
    return (await resets()) === before ? 'silence' : 'reset to the pod'
  }
}
