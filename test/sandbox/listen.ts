import { once } from 'node:events'
import type { AddressInfo, Server } from 'node:net'
import { until } from '../support/until.ts'

/**
 * Makes a server listen at an address that may be in a network namespace which was created a moment ago: an IPv6 address there is
 * tentative and cannot be bound until the check for duplicates has ended.
 *
 * @param port 0 for a free one
 * @returns the port
 */
export async function listenAt(server: Server, host: string, port: number): Promise<number> {
  const isIPv6 = host.includes(':')
  const listens = async () => {
    try {
      server.listen({ host, port, exclusive: true, ipv6Only: isIPv6 })
      await once(server, 'listening')
      return true
    } catch (error) {
      if (!isIPv6 || (error as NodeJS.ErrnoException).code !== 'EADDRNOTAVAIL') throw error
      return false
    }
  }
  await until(`${host} can be bound`, listens, { deadlineMs: 60_000, pollMs: 20 })
  return (server.address() as AddressInfo).port
}
