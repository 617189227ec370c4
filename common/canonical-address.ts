import { isIPv6, SocketAddress } from 'node:net'

/** One spelling for each IP address: without zone, not IPv4-mapped, and IPv6 compressed as RFC 5952 says. */
export function canonicalAddress(address: string): string {
  const bare = address.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '')
  return isIPv6(bare) ? new SocketAddress({ address: bare, family: 'ipv6' }).address : bare
}
