/** The rules that kube-proxy writes for a cluster's Services, in each of its modes: input for iptables-restore and for `nft -f`. */
import { createHash } from 'node:crypto'

const PODS = '10.244.0.0/16'
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** A Service with one port. Every third one has a node port and one endpoint, the others have two endpoints. */
type Service = {
  /** As kube-proxy names it: `namespace/name:port`. */
  readonly name: string
  readonly clusterIp: string
  readonly endpoints: readonly string[]
  readonly nodePort: number | undefined
}

/**
 * The nat table as kube-proxy's mode `iptables` writes it, for `iptables-nft-restore` or `iptables-legacy-restore`: three
 * chains and eight rules for each Service. Without `--noflush` it replaces the table.
 */
export function iptablesServices(count: number): string {
  const written = servicesOf(count).map(iptablesService)
  const section = (pick: (one: IptablesService) => readonly string[]) => written.flatMap(pick)
  return lines([
    '*nat',
    ':PREROUTING ACCEPT [0:0]',
    ':INPUT ACCEPT [0:0]',
    ':OUTPUT ACCEPT [0:0]',
    ':POSTROUTING ACCEPT [0:0]',
    ...['SERVICES', 'NODEPORTS', 'POSTROUTING', 'MARK-MASQ'].map((name) => `:KUBE-${name} - [0:0]`),
    ...section(({ chains }) => chains.map((chain) => `:${chain} - [0:0]`)),
    `-A PREROUTING ${comment('kubernetes service portals')} -j KUBE-SERVICES`,
    `-A OUTPUT ${comment('kubernetes service portals')} -j KUBE-SERVICES`,
    `-A POSTROUTING ${comment('kubernetes postrouting rules')} -j KUBE-POSTROUTING`,
    '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    '-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0',
    `-A KUBE-POSTROUTING ${comment('kubernetes service traffic requiring SNAT')} -j MASQUERADE --random-fully`,
    '-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000',
    ...section(({ rules }) => rules),
    `-A KUBE-SERVICES ${comment('kubernetes service nodeports; NOTE: this must be the last rule in this chain')} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS`,
    'COMMIT',
  ])
}

/** The table `ip kube-proxy` as kube-proxy's mode `nftables` writes it, for `nft -f`. */
export function nftServices(count: number): string {
  const services = servicesOf(count).map(nftService)
  return lines([
    'add table ip kube-proxy',
    'delete table ip kube-proxy',
    'table ip kube-proxy {',
    set(
      'cluster-ips',
      'ipv4_addr',
      services.map(({ clusterIp }) => clusterIp),
    ),
    set('nodeport-ips', 'ipv4_addr', ['10.0.0.10']),
    map('no-endpoint-services', 'ipv4_addr . inet_proto . inet_service', []),
    map('no-endpoint-nodeports', 'inet_proto . inet_service', []),
    map('firewall-ips', 'ipv4_addr . inet_proto . inet_service', []),
    map(
      'service-ips',
      'ipv4_addr . inet_proto . inet_service',
      services.map(({ onService }) => onService),
    ),
    map(
      'service-nodeports',
      'inet_proto . inet_service',
      services.flatMap(({ onNodePort }) => onNodePort),
    ),
    ...NFT_BASE_CHAINS,
    ...services.flatMap(({ chains }) => chains),
    '}',
  ])
}

function servicesOf(count: number): Service[] {
  return Array.from({ length: count }, (_, index): Service => {
    const nodePort = index % 3 === 0 ? 20_000 + index / 3 : undefined
    const endpoints = nodePort === undefined ? [2 * index, 2 * index + 1] : [2 * index]
    return {
      name: `team-${index % 100}/service-${index}:http`,
      clusterIp: address(10, 96, index + 1),
      endpoints: endpoints.map((one) => address(10, 244, one + 256)),
      nodePort,
    }
  })
}

type IptablesService = { readonly chains: readonly string[]; readonly rules: readonly string[] }

function iptablesService({ name, clusterIp, endpoints, nodePort }: Service): IptablesService {
  const service = `KUBE-SVC-${hash(name, 16)}`
  const external = `KUBE-EXT-${hash(name, 16)}`
  const endpointChain = (endpoint: string) => `KUBE-SEP-${hash(`${name} ${endpoint}`, 16)}`
  const toCluster = `-d ${clusterIp}/32 -p tcp ${comment(`${name} cluster IP`)} -m tcp --dport 80`
  const share = (index: number) =>
    index === endpoints.length - 1
      ? ''
      : ` -m statistic --mode random --probability ${(1 / (endpoints.length - index)).toFixed(11)}`
  return {
    chains: [service, ...endpoints.map(endpointChain), ...(nodePort === undefined ? [] : [external])],
    rules: [
      `-A KUBE-SERVICES ${toCluster} -j ${service}`,
      `-A ${service} ! -s ${PODS} ${toCluster} -j KUBE-MARK-MASQ`,
      ...endpoints.map(
        (endpoint, index) =>
          `-A ${service} ${comment(`${name} -> ${endpoint}:8080`)}${share(index)} -j ${endpointChain(endpoint)}`,
      ),
      ...endpoints.flatMap((endpoint) => [
        `-A ${endpointChain(endpoint)} -s ${endpoint}/32 ${comment(name)} -j KUBE-MARK-MASQ`,
        `-A ${endpointChain(endpoint)} -p tcp ${comment(name)} -m tcp -j DNAT --to-destination ${endpoint}:8080`,
      ]),
      ...(nodePort === undefined
        ? []
        : [
            `-A KUBE-NODEPORTS -p tcp ${comment(name)} -m tcp --dport ${nodePort} -j ${external}`,
            `-A ${external} ${comment(`masquerade traffic for ${name} external destinations`)} -j KUBE-MARK-MASQ`,
            `-A ${external} -j ${service}`,
          ]),
    ],
  }
}

function nftService({ name, clusterIp, endpoints, nodePort }: Service) {
  const id = `${hash(name, 8)}-${name.replace(':', '/tcp/')}`
  const endpointChain = (endpoint: string) =>
    `endpoint-${hash(`${name} ${endpoint}`, 8)}-${name.replace(':', '/tcp/')}__${endpoint}/8080`
  const choice = endpoints.map((endpoint, index) => `${index} : goto ${endpointChain(endpoint)}`).join(', ')
  return {
    clusterIp,
    onService: `${clusterIp} . tcp . 80 : goto service-${id}`,
    onNodePort: nodePort === undefined ? [] : [`tcp . ${nodePort} : goto external-${id}`],
    chains: [
      chain(`service-${id}`, [
        `ip daddr ${clusterIp} tcp dport 80 ip saddr != ${PODS} jump mark-for-masquerade`,
        `numgen random mod ${endpoints.length} vmap { ${choice} }`,
      ]),
      ...endpoints.map((endpoint) =>
        chain(endpointChain(endpoint), [
          `ip saddr ${endpoint} jump mark-for-masquerade`,
          `meta l4proto tcp dnat to ${endpoint}:8080`,
        ]),
      ),
      ...(nodePort === undefined
        ? []
        : [chain(`external-${id}`, ['jump mark-for-masquerade', `goto service-${id}`])]),
    ],
  }
}

const comment = (text: string) => `-m comment --comment "${text}"`
const lines = (texts: readonly string[]) => `${texts.join('\n')}\n`
const chain = (name: string, rules: readonly string[]) => `chain ${name} {\n${rules.join('\n')}\n}`
const elementsOf = (elements: readonly string[]) =>
  elements.length === 0 ? '' : `\nelements = { ${elements.join(', ')} }`
const set = (name: string, type: string, elements: readonly string[]) =>
  `set ${name} {\ntype ${type}${elementsOf(elements)}\n}`
const map = (name: string, type: string, elements: readonly string[]) =>
  `map ${name} {\ntype ${type} : verdict${elementsOf(elements)}\n}`

/** A name's hash, in base32 as in kube-proxy. */
function hash(text: string, length: number): string {
  const digest = createHash('sha256').update(text).digest()
  return Array.from(digest.subarray(0, length), (byte) => BASE32[byte % 32]).join('')
}

/** The address number `index` of a network of 16 bits or more. */
const address = (first: number, second: number, index: number) =>
  [first, second + Math.floor(index / 65_536), Math.floor(index / 256) % 256, index % 256].join('.')

const NFT_BASE_CHAINS = [
  chain('nat-prerouting', ['type nat hook prerouting priority dstnat;', 'jump services']),
  chain('nat-output', ['type nat hook output priority -100;', 'jump services']),
  chain('nat-postrouting', ['type nat hook postrouting priority srcnat;', 'jump masquerading']),
  chain('filter-prerouting', [
    'type filter hook prerouting priority dstnat - 10;',
    'ct state new ip daddr . meta l4proto . th dport vmap @firewall-ips',
  ]),
  chain('filter-forward', ['type filter hook forward priority -110;', 'ct state new jump no-endpoints']),
  chain('filter-input', ['type filter hook input priority -110;', 'ct state new jump no-endpoints']),
  chain('services', [
    'ip daddr . meta l4proto . th dport vmap @service-ips',
    'ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports',
  ]),
  chain('no-endpoints', [
    'ip daddr . meta l4proto . th dport vmap @no-endpoint-services',
    'ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports',
  ]),
  chain('mark-for-masquerade', ['meta mark set meta mark or 0x4000']),
  chain('masquerading', [
    'meta mark and 0x4000 == 0 return',
    'meta mark set meta mark xor 0x4000',
    'masquerade fully-random',
  ]),
]
