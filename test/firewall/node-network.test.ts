/** Which of a node's interfaces lead outside, and which pods have a route by policy routing only. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BROKER_ADDRESSES, METADATA_ADDRESSES } from '../../common/addresses.ts'
import { loadTable } from '../../node-guard/firewall/nft/table.ts'
import { classifyNetwork, isUsefulRoute, type Link } from '../../node-guard/firewall/node/network.ts'
import { changesTopology, isSubnet } from '../../node-guard/firewall/node/topology.ts'
import { guardRuleset } from '../../node-guard/firewall/rules/guard-nft.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { nodeExec, openNode } from './node.ts'

const pod = (ifname: string, more: Partial<Link> = {}): Link => ({
  ifname,
  linkinfo: { info_kind: 'veth' },
  ...more,
})
const of = (kind: string | undefined, ifname: string, more: Partial<Link> = {}): Link => ({
  ifname,
  ...(kind === undefined ? {} : { linkinfo: { info_kind: kind } }),
  ...more,
})
const uplinks = (links: readonly Link[], routes = '') =>
  classifyNetwork({ links, externalVeths: [], routes }).uplinks

test('network cards, tunnels and unknown kinds of devices lead outside, and pods’ devices do not', () => {
  for (const kind of [
    undefined,
    'vlan',
    'bond',
    'vxlan',
    'ipip',
    'sit',
    'gre',
    'geneve',
    'wireguard',
    'macvlan',
    'ipvlan',
    'tun',
    'new',
  ])
    assert.deepEqual(uplinks([of(kind, 'x0')]), ['x0'], kind)
  for (const kind of ['veth', 'bridge', 'netkit', 'openvswitch', 'dummy'])
    assert.deepEqual(uplinks([of(kind, 'x0')]), [], kind)
  assert.deepEqual(uplinks([of(undefined, 'lo')]), [])
})

test('each next hop of a default route, or of half of one, leads outside, whatever its table', () => {
  const links = [pod('a'), pod('b'), pod('c'), pod('d')]
  const routes = `default via 10.0.0.1 dev a
default via 10.20.0.1 dev b table 101
default proto static metric 100 \\	nexthop via 10.0.0.2 dev c weight 1 \\	nexthop via 10.0.0.3 dev d weight 1
0.0.0.0/1 via 10.8.0.1 dev e
2000::/3 dev f metric 1024 pref medium
10.0.0.0/8 dev g scope link
unreachable default dev lo metric 4294967295`
  const all = [...links, pod('e'), pod('f'), pod('g')]
  assert.deepEqual(uplinks(all, routes), ['a', 'b', 'c', 'd', 'e', 'f'])
})

test('a veth with a subnet of its own leads to other hosts, which are known by their prefix', () => {
  const routes = `10.9.0.0/24 dev wire proto kernel scope link src 10.9.0.1
10.50.0.0/16 via 10.9.0.2 dev wire proto static src 10.9.0.1
10.244.1.11 dev veth1 scope link
10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.10
default via 10.0.0.2 dev eth0
fd00:9::/64 dev wire proto kernel metric 256 pref medium
fe80::/64 dev wire proto kernel metric 256 pref medium`
  const links = [pod('wire'), pod('veth1'), pod('eth0')]
  const { uplinks, outer } = classifyNetwork({ links, externalVeths: ['wire', 'eth0'], routes })
  assert.deepEqual([uplinks, outer], [['eth0'], ['10.9.0.0/24', 'fd00:9::/64']])
})

describe('the sorted interfaces and prefixes of a node', needsNamespaces(), () => {
  const routes = `10.9.0.0/24 dev wire scope link
10.9.0.0/16 dev wire scope link
10.9.0.0/16 dev wire table 7 scope link
fd00:9::/48 dev wire metric 256 pref medium
fd00:9::/64 dev wire metric 256 pref medium
10.244.1.0/24 via 10.244.1.5 dev cilium_host src 10.244.1.5
10.244.0.0/16 via 10.244.1.5 dev cilium_host src 10.244.1.5`
  const links = [
    pod('wire'),
    pod('cilium_host', { link: 'cilium_net' }),
    ...['vlan.eth.1', 'vlan.eth.x', 'a"b', 'star*', 'plus+', '-', 'with,comma'].map((name) =>
      of('vlan', name),
    ),
  ]
  const ways = classifyNetwork({ links, externalVeths: ['wire'], routes })

  test('have no prefix within another one, and only plain names', () => {
    assert.deepEqual(ways.outer, ['10.9.0.0/16', 'fd00:9::/48'])
    assert.deepEqual(ways.inner, ['10.244.0.0/16'])
    assert.deepEqual(ways.uplinks, ['vlan.eth.*'])
  })

  test('are accepted by nft', async () => {
    const node = await openNode()
    const rules = { metadata: METADATA_ADDRESSES, broker: BROKER_ADDRESSES, ...ways }
    const loaded = await loadTable(nodeExec(node), guardRuleset(rules))
    assert.ok(loaded.ok, loaded.ok ? '' : loaded.detail)
    await node.close()
  })
})

test('an interface with only a pod’s gateway or a link-local address has no subnet of its own', () => {
  const lines = {
    '2: eth1    inet 10.9.0.1/24 brd 10.9.0.255 scope global eth1\\       valid_lft forever': true,
    '2: eth1    inet6 fd00:9::1/64 scope global \\       valid_lft forever': true,
    '3: veth1    inet 10.244.1.1/32 scope global veth1\\       valid_lft forever': false,
    '3: veth1    inet6 fd00:244::1/128 scope global \\       valid_lft forever': false,
    '3: veth1    inet6 fe80::1/64 scope link \\       valid_lft forever': false,
  }
  for (const [line, subnet] of Object.entries(lines)) assert.equal(isSubnet(line), subnet, line)
})

test('a bridge leads outside if one of its ports does, and a bridge of pods does not', () => {
  const links = [
    of('bridge', 'br1'),
    of(undefined, 'eth1', { master: 'br1' }),
    of('bridge', 'cni0'),
    pod('veth1', { master: 'cni0' }),
  ]
  assert.deepEqual(uplinks(links), ['br1', 'eth1'])
})

test('a pair of veths with both ends on the node is no uplink, and leads to the pods of its own prefix', () => {
  const links = [pod('cilium_host', { link: 'cilium_net' }), pod('cilium_net', { link: 'cilium_host' })]
  const routes = `default via 10.244.1.5 dev cilium_host table 2005
10.244.1.0/24 via 10.244.1.5 dev cilium_host proto kernel src 10.244.1.5
10.244.2.0/24 via 10.244.1.5 dev cilium_host proto kernel src 10.244.1.5 mtu 1450
10.244.1.5 dev cilium_host scope link
fd00:244::/64 dev cilium_host src fd00:244::5 metric 1024 pref medium`
  assert.deepEqual(classifyNetwork({ links, externalVeths: [], routes }), {
    uplinks: [],
    inner: ['10.244.1.0/24', 'fd00:244::/64'],
    outer: [],
    hidden: [],
  })
})

test('branch interfaces of security groups for pods share one name', () => {
  assert.deepEqual(uplinks([of('vlan', 'vlan.eth.1'), of('vlan', 'vlan.eth.22'), of('vlan', 'vlan.eth')]), [
    'vlan.eth',
    'vlan.eth.*',
  ])
})

test('routes to pods in another table only are hidden ones, unless they lead outside, are known, or are ambiguous', () => {
  const links = [pod('vlan1'), pod('vlan2'), of('vlan', 'vlan.eth.1')]
  const routes = `10.244.1.11 dev vlan1 table 101 scope link
default via 10.20.0.1 dev vlan.eth.1 table 101
10.20.0.1 dev vlan.eth.1 table 101 scope link
fd00:244::11 dev vlan1 table 101 metric 1024 pref medium
fe80::/64 dev vlan1 table 101 metric 256 pref medium
10.244.1.12 dev vlan1 table 102 scope link
10.244.1.12 dev vlan2 table 103 scope link
10.244.1.13 dev vlan2 table 104 scope link
10.244.1.13 dev vlan1 scope link
10.9.0.0/16 via 10.0.0.7 dev vlan1 table 105
local 10.244.1.14 dev vlan1 table 106
10.244.1.15 dev vlan1 table 169254 proto 169 scope link`
  assert.deepEqual(classifyNetwork({ links, externalVeths: [], routes }).hidden, [
    { destination: '10.244.1.11', device: 'vlan1' },
    { destination: 'fd00:244::11', device: 'vlan1' },
  ])
})

test('routes to other nodes are ignored, of which there may be thousands', () => {
  assert.equal(isUsefulRoute('10.2.3.0/24 via 10.0.0.7 dev eth0 proto bird'), false)
  assert.equal(
    isUsefulRoute('local 10.0.0.10 dev eth0 table local proto kernel scope host src 10.0.0.10'),
    false,
  )
  assert.equal(isUsefulRoute('default via 10.0.0.2 dev eth0'), true)
  assert.equal(isUsefulRoute('128.0.0.0/1 via 10.8.0.1 dev tun0'), true)
  assert.equal(isUsefulRoute('10.244.1.11 dev veth11 scope link'), true)
  assert.equal(isUsefulRoute('fd00:244::11 dev vlan1 table 101 metric 1024 pref medium'), true)
  assert.equal(isUsefulRoute('10.244.1.0/24 via 10.244.1.5 dev cilium_host src 10.244.1.5'), true)
})

test('notifications about ordinary pods are ignored, and those about possible ways into the node are not', () => {
  const quiet = [
    '7: veth11@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default \\    link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff link-netnsid 3',
    '10.244.1.11 dev veth11 scope link',
    'Deleted 10.244.1.11 dev veth11 scope link',
    'local fe80::1 dev veth11 table local proto kernel metric 0 pref medium',
    '7: veth11    inet6 fe80::ecee:eeff:feee:eeee/64 scope link',
  ]
  const telling = [
    'default via 10.0.0.2 dev eth0',
    'Deleted default via 10.0.0.2 dev eth0',
    '0.0.0.0/1 via 10.8.0.1 dev tun0',
    '10.244.1.11 dev vlan1 table 101 scope link',
    '10:\tfrom all iif vlan1 lookup 101',
    'Deleted 10:\tfrom all iif vlan1 lookup 101',
    '8: eth1: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN group default \\    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff',
    '9: vlan.eth.1@eth0: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN group default \\    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff',
    '8: eth1    inet 10.9.0.1/24 scope global eth1',
  ]
  assert.deepEqual(quiet.filter(changesTopology), [])
  assert.deepEqual(
    telling.filter((line) => !changesTopology(line)),
    [],
  )
})
