/**
 * Whether `NO_PROXY` contains an exception, as HTTP clients read it. There is no standard: Go, curl and Python's requests understand
 * networks, botocore does not; Go and Python match a name with the end of a longer one, and even of an address.
 */
import { BlockList, isIP, isIPv6 } from 'node:net'

/** `address`: for all clients. `network`: for those that understand networks. */
type Excepted = 'address' | 'network' | undefined

/** For which clients a list has an exception for an address and port; undefined if it has none. */
export function proxyException(list: string, address: string, port: number): Excepted {
  const entries = list.split(/[\s,]+/).filter((entry) => entry !== '')
  if (entries.some((entry) => isNamed(entry, address, port))) return 'address'
  return entries.some((entry) => isWithin(entry, address)) ? 'network' : undefined
}

function isNamed(entry: string, address: string, port: number): boolean {
  if (entry === '*') return true
  const host = withoutPort(entry, port)
  if (host === undefined) return false
  if (isIP(host) > 0) return isSame(host, address)
  const end = host.replace(/^\*?\./, '')
  return end !== '' && address.endsWith(`.${end}`)
}

/** The host of an entry; undefined if it is for another port. */
function withoutPort(entry: string, port: number): string | undefined {
  if (isIPv6(entry)) return entry
  const [, host = entry, own] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? []
  if (own !== undefined && Number(own) !== port) return undefined
  return host.replace(/^\[(.*)\]$/, '$1')
}

function isWithin(entry: string, address: string): boolean {
  const [, network = '', digits] = /^(.+)\/(\d{1,3})$/.exec(entry) ?? []
  const [kind, prefix] = [isIP(network), Number(digits)]
  if (kind === 0 || kind !== isIP(address) || prefix > (kind === 4 ? 32 : 128)) return false
  if (kind === 4) return prefix === 0 || (bits(network) ^ bits(address)) >>> (32 - prefix) === 0
  const list = new BlockList()
  list.addSubnet(network, prefix, 'ipv6')
  return list.check(address, 'ipv6')
}

/** Whether two addresses are equal, also where IPv6 zeros are written differently. */
function isSame(one: string, other: string): boolean {
  if (one === other) return true
  return isIPv6(one) && isIPv6(other) && URL.parse(`http://[${one}]`)?.host === `[${other}]`
}

/** The bits of an IPv4 address. */
function bits(address: string): number {
  return address.split('.').reduce((all, octet) => (all << 8) | Number(octet), 0)
}
