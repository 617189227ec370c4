/**
 * The network of one EKS-like node as shell scripts for `ip -batch`: pure, so that it can be read and tested.
 *
 *   aws  : VPC router and STS 10.0.0.2, API server 10.0.0.3, IMDS 169.254.169.254 and fd00:ec2::254 on lo
 *   node : eth0 10.0.0.10, fd00:10::10; the host's network namespace
 *   pods : 10.244.1.N and fd00:244::N, either
 *     routed : one veth per pod, /32, proxy_arp, permanent neighbour (AWS VPC CNI, Calico), or
 *     bridge : on cni0 in the node (kubenet, flannel), with or without br_netfilter
 */
export type Topology = 'routed' | 'bridge'

export const AWS_NETWORK = 'aws'
export const NODE_NETWORK = 'node'

export const ADDRESSES = {
  metadata: ['169.254.169.254', 'fd00:ec2::254'],
  /** The VPC's router; STS listens here. */
  vpc: ['10.0.0.2', 'fd00:10::2'],
  apiServer: ['10.0.0.3', 'fd00:10::3'],
  node: ['10.0.0.10', 'fd00:10::10'],
} as const

export type PodAddresses = { readonly ipv4: string; readonly ipv6: string }

/** First and last N of pod addresses. */
const FIRST_POD = 11
const LAST_POD = 250

/** As with Calico, all host sides of pod links have this address, so that a pod's gateway is known in advance. */
const GATEWAY_MAC = 'ee:ee:ee:ee:ee:ee'

/** The addresses of the pod numbered `n`. */
export function podAddresses(n: number): PodAddresses {
  return { ipv4: `10.244.1.${n}`, ipv6: `fd00:244::${n}` }
}

/** The next free number after `last`, starting again after the end; throws when every address is in use. */
export function nextPodNumber(last: number, used: ReadonlySet<number>): number {
  const count = LAST_POD - FIRST_POD + 1
  const after = Math.max(last, FIRST_POD - 1) - FIRST_POD
  for (let i = 1; i <= count; i++) {
    const n = FIRST_POD + ((after + i + count) % count)
    if (!used.has(n)) return n
  }
  throw new Error(`all ${count} pod addresses of the node are in use`)
}

/** Creates the aws and node namespaces. `bridgeNetfilter` matters only for topology bridge. */
export function upScript(topology: Topology, bridgeNetfilter: boolean): string {
  return [
    batch([`netns add ${AWS_NETWORK}`, `netns add ${NODE_NETWORK}`]),
    inside(AWS_NETWORK, [sysctl(IPV6_QUIET), batch(['link set lo up'])]),
    inside(NODE_NETWORK, [
      sysctl({ ...IPV6_QUIET, 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1 }),
      batch(['link set lo up', `link add eth0 type veth peer name eth0 netns ${AWS_NETWORK}`]),
    ]),
    inside(AWS_NETWORK, [batch(AWS_LINKS)]),
    inside(NODE_NETWORK, [batch(NODE_LINKS), ...(topology === 'bridge' ? bridge(bridgeNetfilter) : [])]),
  ].join('\n')
}

/** Adds a pod's network namespace; runs in the machine. */
export function addPodScript(topology: Topology, network: string, n: number): string {
  const { ipv4, ipv6 } = podAddresses(n)
  const host = `veth${n}`
  const address = topology === 'bridge' ? '' : `address ${GATEWAY_MAC} `
  return [
    batch([`netns add ${network}`]),
    // The setting must be made first: a new interface takes accept_dad from `default`.
    inside(network, [sysctl(IPV6_QUIET), batch(['link set lo up'])]),
    inside(NODE_NETWORK, [
      batch([
        `link add ${host} ${address}type veth peer name eth0 netns ${network}`,
        ...(topology === 'bridge'
          ? [`link set ${host} master cni0 up`]
          : [
              `link set ${host} up`,
              `route add ${ipv4}/32 dev ${host} scope link`,
              `route add ${ipv6}/128 dev ${host}`,
            ]),
      ]),
      ...(topology === 'bridge' ? [] : [sysctl({ [`ipv4/conf/${host}/proxy_arp`]: 1 })]),
    ]),
    inside(network, [batch(topology === 'bridge' ? bridgedPod(ipv4, ipv6) : routedPod(ipv4, ipv6))]),
  ].join('\n')
}

/** Removes a pod's network namespace, and with it both ends of its link. */
export function removePodScript(network: string, n: number): string {
  // The link is removed first, because a namespace that still has a process continues to exist.
  return [
    inside(NODE_NETWORK, [`ip link del veth${n} 2>/dev/null || true`]),
    batch([`netns del ${network}`]),
  ].join('\n')
}

const AWS_LINKS = [
  ...ADDRESSES.metadata.map((address) => addAddress(address, 'lo')),
  addAddress('10.0.0.2/24', 'eth0'),
  addAddress('10.0.0.3/24', 'eth0'),
  addAddress('fd00:10::2/64', 'eth0'),
  // Not preferred, so that packets which leave this host have the router's address, as over IPv4.
  `${addAddress('fd00:10::3/64', 'eth0')} preferred_lft 0`,
  'link set eth0 up',
  // Pod addresses are VPC-routable, as with the VPC CNI: no masquerading.
  'route add 10.244.0.0/16 via 10.0.0.10',
  'route add fd00:244::/64 via fd00:10::10',
]

const NODE_LINKS = [
  addAddress('10.0.0.10/24', 'eth0'),
  addAddress('fd00:10::10/64', 'eth0'),
  'link set eth0 up',
  'route add default via 10.0.0.2',
  'route add default via fd00:10::2',
  // On EC2 these are link-scope on the primary interface; here they are behind the VPC router.
  'route add 169.254.169.254/32 via 10.0.0.2 dev eth0',
  'route add fd00:ec2::254/128 via fd00:10::2 dev eth0',
]

function bridge(bridgeNetfilter: boolean): string[] {
  const value = bridgeNetfilter ? 1 : 0
  return [
    batch([
      'link add cni0 type bridge',
      'link set cni0 up',
      addAddress('10.244.1.1/24', 'cni0'),
      addAddress('fd00:244::1/64', 'cni0'),
    ]),
    // Only if the br_netfilter module is loaded; without it bridged frames never pass the IP hooks.
    `for f in iptables ip6tables; do
  test ! -e /proc/sys/net/bridge/bridge-nf-call-$f || echo ${value} >/proc/sys/net/bridge/bridge-nf-call-$f
done`,
  ]
}

function bridgedPod(ipv4: string, ipv6: string): string[] {
  return [
    addAddress(`${ipv4}/24`, 'eth0'),
    addAddress(`${ipv6}/64`, 'eth0'),
    'link set eth0 up',
    'route add default via 10.244.1.1',
    'route add default via fd00:244::1',
  ]
}

function routedPod(ipv4: string, ipv6: string): string[] {
  return [
    addAddress(`${ipv4}/32`, 'eth0'),
    addAddress(`${ipv6}/128`, 'eth0'),
    'link set eth0 up',
    'route add 169.254.1.1 dev eth0 scope link',
    'route add default via 169.254.1.1 dev eth0',
    `neigh add 169.254.1.1 lladdr ${GATEWAY_MAC} dev eth0 nud permanent`,
    'route add fe80::1 dev eth0',
    'route add default via fe80::1 dev eth0',
    `neigh add fe80::1 lladdr ${GATEWAY_MAC} dev eth0 nud permanent`,
  ]
}

/** Without duplicate address detection, because an address that is tentative for a second would delay each start by a second. */
const IPV6_QUIET = {
  'ipv6/conf/all/accept_dad': 0,
  'ipv6/conf/default/accept_dad': 0,
  'ipv6/conf/all/accept_ra': 0,
  'ipv6/conf/default/accept_ra': 0,
}

function addAddress(address: string, device: string): string {
  return `addr add ${address}${address.includes('/') ? '' : address.includes(':') ? '/128' : '/32'} dev ${device}${address.includes(':') ? ' nodad' : ''}`
}

function sysctl(values: Readonly<Record<string, number>>): string {
  return Object.entries(values)
    .map(([key, value]) => `echo ${value} >/proc/sys/net/${key}`)
    .join('\n')
}

function batch(lines: readonly string[]): string {
  // A batch line needs no -6, because the family follows from the address.
  return `ip -batch - <<'BATCH'\n${lines.join('\n')}\nBATCH`
}

function inside(network: string, script: readonly string[]): string {
  return `nsenter --net=/run/netns/${network} sh -e <<'INSIDE'\n${script.join('\n')}\nINSIDE`
}
