/**
 * How the CNIs in use lay out a node's network, as shell scripts on top of the two base topologies: interfaces, policy
 * routing and routes as the CNIs create them, with the sources from which each was taken. No CNI runs here. If this kernel
 * lacks a kind of device, another one stands in for it, see `STAND_INS`.
 *
 * In namespace `aws`, addresses of {@link INTRUDERS} are other hosts, which reach this node through the links of the layout.
 */
import { podAddresses, type Topology } from './topology.ts'

export type Layout = {
  /** A short name of the layout. */
  readonly title: string
  readonly base: Topology
  /** The kinds of devices that it needs and a kernel may lack. */
  readonly kinds?: readonly Kind[]
  /** Runs after the base topology and before pods; in the machine. */
  readonly up?: string
  /** Runs after the base has added a pod, whose network namespace has this name. */
  readonly addPod?: (n: number, network: string) => string
  /** Runs before the base removes the pod. */
  readonly removePod?: (n: number) => string
  /**
   * The node cannot distinguish a pod that uses another pod's source address from that pod: on a bridge, packets of both arrive on the same device.
   * The answers go to the other pod.
   */
  readonly borrowsSources?: true
  /** This layout is about its policy routing rules, which are tested with every backend. */
  readonly policyRouting?: true
  /** The node cannot distinguish its pods from other hosts here, so that neither can reach the broker. */
  readonly shutsPodsOut?: true
  /** Other addresses that must refuse a pod on port 80: `host`, keyed by what it is. */
  readonly refused?: Readonly<Record<string, string>>
  /** The links by which other hosts reach the node beside its primary interface: the {@link INTRUDERS} that use them. */
  readonly intruders?: readonly (keyof typeof INTRUDERS)[]
}

export type Kind = 'vlan' | 'ipip' | 'vxlan' | 'vrf' | 'dummy' | 'ipvs'

/** What stands in for a kind of device that this kernel lacks, and why that is enough; if there is nothing, the layout is skipped. */
export const STAND_INS: Readonly<Partial<Record<Kind, string>>> = {
  vlan: 'a veth, which the guard must know by its default route in another table',
  ipip: 'a VXLAN device, a tunnel as well',
}

/** A shell command that succeeds if the kernel has this kind; it runs in a namespace that it may leave in any state. */
export const HAS: Readonly<Record<Kind, string>> = {
  vlan: 'ip link add link eth0 name probe type vlan id 4000 && ip link del probe',
  ipip: 'ip link add probe type ipip local 10.0.0.2 remote 10.0.0.99 && ip link del probe',
  vxlan: 'ip link add probe type vxlan id 4000 dstport 4999 dev eth0 && ip link del probe',
  vrf: 'ip link add probe type vrf table 4000 && ip link del probe',
  dummy: 'ip link add probe type dummy && ip link del probe',
  ipvs: 'ipvsadm --list',
}

/** Sources in namespace `aws`, each with a route of its own to the broker's addresses. */
export const INTRUDERS = {
  branch: ['10.20.0.1', 'fd00:20::1'],
  tunnel: ['10.244.2.5', 'fd00:244:2::5'],
  nic: ['10.30.0.77', 'fd00:30::77'],
} as const

const BROKER = ['169.254.170.24', 'fd00:70d2:1a::24'] as const

const tableOf = (who: keyof typeof INTRUDERS) => 200 + Object.keys(INTRUDERS).indexOf(who)

/** Routes the packets of an intruder's source to the broker's addresses through this device. */
function intruder(who: keyof typeof INTRUDERS, device: string, mac?: string): string {
  const table = tableOf(who)
  return INTRUDERS[who]
    .flatMap((source, index) => {
      const family = index === 0 ? '-4' : '-6'
      const host = index === 0 ? 32 : 128
      return [
        `ip -n aws addr replace ${source}/${host} dev lo`,
        `ip -n aws ${family} rule add pref ${table} from ${source} lookup ${table} 2>/dev/null || true`,
        `ip -n aws ${family} route replace ${BROKER[index]}/${host} dev ${device} table ${table}`,
        ...(mac === undefined
          ? []
          : [`ip -n aws neigh replace ${BROKER[index]} lladdr ${mac} dev ${device} nud permanent`]),
      ]
    })
    .join('\n')
}

/** The hardware address of a device, for the shell; empty if it has none. */
const MAC_OF = (network: string, device: string) =>
  `$(ip -n ${network} -o link show ${device} | sed -n 's/.* link\\/ether \\([^ ]*\\) .*/\\1/p')`

const inNode = (script: string) => `nsenter --net=/run/netns/node sh -e <<'NODE'\n${script}\nNODE`

/**
 * The branch interface of a pod with its own security groups: a VLAN on the trunk interface, table 100 + VLAN id.
 * amazon-vpc-cni-k8s, cmd/routed-eni-cni-plugin/driver (setupVlan, setupIIFBasedContainerRouteRules,
 * setupIPBasedContainerRouteRules) and pkg/networkutils (SetupHostNetwork, createIPv6GatewayRule), v1.20.
 */
function branch(n: number): string {
  const mac = `02:00:00:00:01:${n.toString(16).padStart(2, '0')}`
  const gatewayMac = `02:00:00:00:02:${n.toString(16).padStart(2, '0')}`
  const device = `vlan.eth.${n}`
  const { ipv4, ipv6 } = podAddresses(n)
  return `
if ip -n node link add link trunk name ${device} address ${mac} type vlan id ${n} 2>/dev/null; then
  ip -n aws link add link trunk name branch${n} address ${gatewayMac} type vlan id ${n}
else
  ip -n node link add ${device} address ${mac} type veth peer name branch${n} address ${gatewayMac} netns aws
fi
ip -n node link set ${device} up
ip -n aws link set branch${n} up
ip -n node route add 10.20.0.1 dev ${device} scope link table ${100 + n}
ip -n node route add default via 10.20.0.1 dev ${device} table ${100 + n}
ip -n node -6 route add fe80::ec2:1 dev ${device} table ${100 + n}
ip -n node -6 route add default via fe80::ec2:1 dev ${device} table ${100 + n}
ip -n node neigh add 10.20.0.1 lladdr ${gatewayMac} dev ${device} nud permanent
ip -n node neigh add fe80::ec2:1 lladdr ${gatewayMac} dev ${device} nud permanent
ip -n aws route replace ${ipv4} dev branch${n}
ip -n aws -6 route replace ${ipv6} dev branch${n}
ip -n aws neigh replace ${ipv4} lladdr ${mac} dev branch${n} nud permanent
ip -n aws neigh replace ${ipv6} lladdr ${mac} dev branch${n} nud permanent
${intruder('branch', `branch${n}`, mac)}`
}

const TRUNK = `
ip -n node link add trunk type veth peer name trunk netns aws
ip -n node link set trunk up
ip -n aws link set trunk up`

function strict(n: number): string {
  const { ipv4, ipv6 } = podAddresses(n)
  return `${branch(n)}
# The kernel's own test of the reverse path, as distributions set it.
${inNode(`echo 1 >/proc/sys/net/ipv4/conf/veth${n}/rp_filter`)}
ip -n node route del ${ipv4}
ip -n node -6 route del ${ipv6}
ip -n node route add ${ipv4} dev veth${n} scope link table ${100 + n}
ip -n node -6 route add ${ipv6} dev veth${n} table ${100 + n}
for family in -4 -6; do
  for device in vlan.eth.${n} veth${n}; do
    ip -n node $family rule add pref 10 iif $device lookup ${100 + n}
  done
done`
}

const removeBranch = (n: number) => `
ip -n node link del vlan.eth.${n}
for family in -4 -6; do
  while ip -n node $family rule del lookup ${100 + n} 2>/dev/null; do :; done
done`

function standard(n: number): string {
  const { ipv4, ipv6 } = podAddresses(n)
  return [
    branch(n),
    ...[ipv4, ipv6].flatMap((address, index) => [
      `ip -n node -${[4, 6][index]} rule add pref 512 to ${address} lookup main`,
      `ip -n node -${[4, 6][index]} rule add pref 1536 from ${address} lookup ${100 + n}`,
    ]),
  ].join('\n')
}

/** A tunnel to another node, whose pods are 10.244.2.0/24 and fd00:244:2::/64, with its other end in `aws`. */
function tunnel(name: string, kind: 'ipip' | 'vxlan'): string {
  const vxlan = (network: string, device: string, [local, remote]: [string, string]) =>
    `ip -n ${network} link add ${device} type vxlan id 4096 dstport 4789 local ${local} remote ${remote} dev eth0`
  const pair = [
    ['node', name, '10.0.0.10', '10.0.0.2'],
    ['aws', 'tunnel', '10.0.0.2', '10.0.0.10'],
  ] as const
  return [
    ...pair.map(([network, device, local, remote]) => {
      const standIn = vxlan(network, device, [local, remote])
      return kind === 'vxlan'
        ? standIn
        : `ip -n ${network} link add ${device} type ipip local ${local} remote ${remote} dev eth0 2>/dev/null || ${standIn}`
    }),
    `ip -n node link set ${name} up`,
    'ip -n aws link set tunnel up',
    `mac=${MAC_OF('node', name)}`,
    intruder('tunnel', 'tunnel'),
    // A device of layer 2 must know where to send packets; one of layer 3 carries only IPv4, and IPv6 arrives by the wire.
    'if test -n "$mac"; then',
    ...BROKER.map((address) => `  ip -n aws neigh replace ${address} lladdr "$mac" dev tunnel nud permanent`),
    `  ip -n node -6 route add fd00:244:2::/64 dev ${name}`,
    'else',
    `  ip -n aws -6 route replace ${BROKER[1]} via fd00:10::10 dev eth0 table ${tableOf('tunnel')}`,
    'fi',
  ].join('\n')
}

const TO_OTHER_NODE = (name: string) => `ip -n node route add 10.244.2.0/24 dev ${name}`

/**
 * Cilium with veth devices and the host's routing: pods send through their lxc device; packets for them are routed to
 * `cilium_host`, from where a BPF program passes them to the pod. Here nft's `fwd` replaces that program. Policy routing as by its
 * agent: `lookup local` at 100, the proxy's marks at 9 and 10.
 */
const CILIUM = `
ip -n node link add cilium_host type veth peer name cilium_net
ip -n node link set cilium_net up
ip -n node link set cilium_host up
ip -n node addr add 10.244.1.5/32 dev cilium_host
ip -n node addr add fd00:244::5/128 dev cilium_host nodad
ip -n node route add 10.244.1.5 dev cilium_host scope link
ip -n node route add 10.244.1.0/24 via 10.244.1.5 dev cilium_host src 10.244.1.5
ip -n node route add 10.244.2.0/24 via 10.244.1.5 dev cilium_host src 10.244.1.5 mtu 1450
ip -n node -6 route add fd00:244::/64 dev cilium_host src fd00:244::5
for family in -4 -6; do
  ip -n node $family rule add pref 100 lookup local
  ip -n node $family rule del pref 0
  ip -n node $family rule add pref 9 fwmark 0x200/0xf00 lookup 2004
  ip -n node $family rule add pref 10 fwmark 0xa00/0xf00 lookup 2005
  ip -n node $family route add local default dev lo table 2004
done
ip -n node route add 10.244.1.5 dev cilium_host scope link table 2005
ip -n node route add default via 10.244.1.5 dev cilium_host table 2005
ip -n node -6 route add default dev cilium_host table 2005
${inNode(`nft -f - <<'NFT'
table netdev cilium {
  chain from_host { type filter hook ingress device "cilium_net" priority 0; }
}
NFT`)}`

function ciliumPod(n: number, network: string): string {
  const { ipv4, ipv6 } = podAddresses(n)
  const mac = `02:00:00:00:03:${n.toString(16).padStart(2, '0')}`
  return `
ip -n ${network} link set eth0 address ${mac}
# A device that changes its address forgets its neighbours.
for gateway in 169.254.1.1 fe80::1; do
  ip -n ${network} neigh replace $gateway lladdr ${MAC_OF('node', `veth${n}`)} dev eth0 nud permanent
done
ip -n node route del ${ipv4}
ip -n node -6 route del ${ipv6}
for address in ${ipv4} ${ipv6}; do
  ip -n node neigh replace $address lladdr ${mac} dev cilium_host nud permanent
done
${inNode(`nft -f - <<'NFT'
add rule netdev cilium from_host ip daddr ${ipv4} ether daddr set ${mac} fwd to "veth${n}"
add rule netdev cilium from_host ip6 daddr ${ipv6} ether daddr set ${mac} fwd to "veth${n}"
NFT`)}`
}

/** A second network card of the node, which a VXLAN device replaces here: a device that is neither veth nor bridge leads outside. */
const NIC = `
ip -n node link add eth2 type vxlan id 30 dstport 4790 local 10.0.0.10 remote 10.0.0.2 dev eth0
ip -n aws link add nic type vxlan id 30 dstport 4790 local 10.0.0.2 remote 10.0.0.10 dev eth0
ip -n node link set eth2 up
ip -n aws link set nic up
${intruder('nic', 'nic', MAC_OF('node', 'eth2'))}`

export const LAYOUTS = {
  'vpc-cni': { title: 'AWS VPC CNI', base: 'routed' },
  'vpc-cni-secondary': {
    title: 'AWS VPC CNI, pods on a secondary interface',
    base: 'routed',
    up: `${NIC}
ip -n node route add 10.30.0.1 dev eth2 scope link table 2
ip -n node route add default via 10.30.0.1 dev eth2 table 2
ip -n aws addr add 10.30.0.1/32 dev lo
ip -n node neigh add 10.30.0.1 lladdr ${MAC_OF('aws', 'nic')} dev eth2 nud permanent
ip -n node rule add pref 1024 fwmark 0x80/0x80 lookup main`,
    addPod: (n) => `
ip -n node rule add pref 512 to ${podAddresses(n).ipv4} lookup main
ip -n node rule add pref 1536 from ${podAddresses(n).ipv4} lookup 2`,
    removePod: (n) => `
ip -n node rule del to ${podAddresses(n).ipv4}
ip -n node rule del from ${podAddresses(n).ipv4}`,
    intruders: ['nic'],
  },
  'vpc-cni-strict': {
    title: 'AWS VPC CNI, security groups for pods, strict',
    base: 'routed',
    policyRouting: true,
    kinds: ['vlan'],
    up: `${TRUNK}
ip -n node -6 rule add pref 0 from fe80::ec2:1/128 ipproto ipv6-icmp lookup local
for family in -4 -6; do
  ip -n node $family rule add pref 20 lookup local
  ip -n node $family rule del pref 0 from all lookup local
done`,
    addPod: strict,
    removePod: removeBranch,
    intruders: ['branch'],
  },
  'vpc-cni-strict-local-first': {
    title: 'policy routing by incoming interface behind the local table',
    base: 'routed',
    policyRouting: true,
    kinds: ['vlan'],
    up: TRUNK,
    addPod: strict,
    removePod: removeBranch,
    intruders: ['branch'],
  },
  'vpc-cni-standard': {
    title: 'AWS VPC CNI, security groups for pods, standard',
    base: 'routed',
    policyRouting: true,
    kinds: ['vlan'],
    up: TRUNK,
    addPod: standard,
    removePod: removeBranch,
    intruders: ['branch'],
  },
  // Calico uses tunl0, which the kernel creates by itself.
  'calico-ipip': {
    title: 'Calico with IPIP',
    base: 'routed',
    kinds: ['ipip'],
    up: `${tunnel('tunl1', 'ipip')}\n${TO_OTHER_NODE('tunl1')}\nip -n node route add blackhole 10.244.1.0/26`,
    intruders: ['tunnel'],
  },
  'calico-vxlan': {
    title: 'Calico with VXLAN',
    base: 'routed',
    kinds: ['vxlan'],
    up: `${tunnel('vxlan.calico', 'vxlan')}\n${TO_OTHER_NODE('vxlan.calico')}\nip -n node route add blackhole 10.244.1.0/26`,
    intruders: ['tunnel'],
  },
  'cilium-legacy': {
    title: 'Cilium with the host’s routing',
    base: 'routed',
    policyRouting: true,
    // Cilium's own program at the pod's veth drops these.
    borrowsSources: true,
    up: `${CILIUM}\n${tunnel('cilium_vxlan', 'vxlan')}`,
    addPod: ciliumPod,
    intruders: ['tunnel'],
  },
  'kube-router': {
    title: 'kube-router with an overlay',
    base: 'bridge',
    borrowsSources: true,
    kinds: ['ipip'],
    up: `${tunnel('tun-1000022', 'ipip')}
${TO_OTHER_NODE('tun-1000022')}
ip -n node route add 10.0.0.2 dev tun-1000022 table 77
ip -n node rule add pref 32764 lookup 79
ip -n node rule add pref 32765 fwmark 0x4000/0x4000 lookup 78
ip -n node rule add pref 1000 from 10.244.1.0/24 to 10.244.2.0/24 lookup 77`,
    intruders: ['tunnel'],
  },
  'flannel-vxlan': {
    title: 'flannel with VXLAN',
    base: 'bridge',
    borrowsSources: true,
    kinds: ['vxlan'],
    up: `${tunnel('flannel.1', 'vxlan')}\n${TO_OTHER_NODE('flannel.1')}`,
    intruders: ['tunnel'],
  },
  'flannel-host-gw': {
    title: 'flannel with host-gw',
    base: 'bridge',
    borrowsSources: true,
    up: 'ip -n node route add 10.244.2.0/24 via 10.0.0.2 dev eth0',
  },
  'azure-transparent': {
    title: 'a transparent veth per pod, as Azure CNI makes it',
    base: 'routed',
    up: 'ip -n node route add 10.244.0.0/16 via 10.0.0.2 dev eth0',
  },
  multus: {
    title: 'a second interface of pods, on a bridge with a network card (Multus)',
    base: 'routed',
    up: `${NIC}
ip -n node link add br-net1 type bridge
ip -n node link set eth2 master br-net1
ip -n node link set br-net1 up
ip -n node addr add 10.30.0.1/24 dev br-net1
ip -n node addr add fd00:30::1/64 dev br-net1 nodad
${intruder('nic', 'nic', MAC_OF('node', 'br-net1'))}`,
    addPod: (n, network) => `
ip -n node link add net${n} type veth peer name net1 netns ${network}
ip -n node link set net${n} master br-net1 up
ip -n ${network} addr add 10.30.0.${n}/24 dev net1
ip -n ${network} link set net1 up`,
    removePod: (n) => `ip -n node link del net${n}`,
    intruders: ['nic'],
  },
  'azure-bridge': {
    title: 'the network card as a port of the pods’ bridge, as Azure CNI had it',
    base: 'bridge',
    borrowsSources: true,
    shutsPodsOut: true,
    up: `
ip -n node addr flush dev eth0
ip -n node link set eth0 master cni0
ip -n node addr add 10.0.0.10/24 dev cni0
ip -n node addr add fd00:10::10/64 dev cni0 nodad
ip -n node route replace default via 10.0.0.2 dev cni0
ip -n node -6 route replace default via fd00:10::2 dev cni0
ip -n node route replace 169.254.169.254 via 10.0.0.2 dev cni0
ip -n node -6 route replace fd00:ec2::254 via fd00:10::2 dev cni0`,
  },
  vrf: {
    title: 'pods in a VRF',
    base: 'routed',
    kinds: ['vrf'],
    up: `
ip -n node link add vrf0 type vrf table 77
ip -n node link set vrf0 up
ip -n node route add default via 10.0.0.2 dev eth0 table 77
ip -n node -6 route add default via fd00:10::2 dev eth0 table 77
${inNode('echo 1 >/proc/sys/net/ipv4/tcp_l3mdev_accept; echo 1 >/proc/sys/net/ipv4/udp_l3mdev_accept')}`,
    addPod: (n) => `
ip -n node link set veth${n} master vrf0
ip -n node route del ${podAddresses(n).ipv4} 2>/dev/null || true
ip -n node -6 route del ${podAddresses(n).ipv6} 2>/dev/null || true
ip -n node route replace ${podAddresses(n).ipv4} dev veth${n} scope link table 77
ip -n node -6 route replace ${podAddresses(n).ipv6} dev veth${n} table 77`,
  },
  ipvs: {
    title: 'kube-proxy with IPVS, and a Service whose endpoint is the metadata service',
    base: 'routed',
    kinds: ['dummy', 'ipvs'],
    up: `
ip -n node link add kube-ipvs0 type dummy
ip -n node addr add 10.96.0.50/32 dev kube-ipvs0
ip -n node addr add fd00:96::50/128 dev kube-ipvs0 nodad
${inNode(`ipvsadm -A -t 10.96.0.50:80 -s rr
ipvsadm -a -t 10.96.0.50:80 -r 169.254.169.254:80 -m
ipvsadm -A -t [fd00:96::50]:80 -s rr
ipvsadm -a -t [fd00:96::50]:80 -r [fd00:ec2::254]:80 -m
echo 1 >/proc/sys/net/ipv4/vs/conntrack`)}`,
    refused: { 'a Service, IPv4': '10.96.0.50', 'a Service, IPv6': 'fd00:96::50' },
  },
} as const satisfies Readonly<Record<string, Layout>>

export type LayoutName = keyof typeof LAYOUTS
