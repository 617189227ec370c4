/**
 * A bound on open connections by which one peer cannot lock the others out: any pod of the cluster reaches the port, and
 * the API servers must get in all the same. A new connection always gets its place; the address with most of those on which
 * nothing is being judged loses one. Unlike `greatestHolder` of common/connections.ts it never ends one on which a review is
 * being judged, not even of the address that holds most: that may be an API server, and its pod would be refused.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { boundedConnections, type Connection, type Eviction } from '../../common/connections.ts'

/**
 * @param server of HTTPS, before it gets its first connection
 * @param max connections at the same time
 */
export function boundConnections(server: Server, max: number): void {
  boundedConnections({ max, evict: stillest, keyOf }).watch(server)
}

/** Of the address with most still connections, the one that has been still for longest; none where each has its review being judged. */
const stillest: Eviction = (open) => {
  const byAddress = new Map<string, { readonly first: Connection; count: number }>()
  let most: { readonly first: Connection; readonly count: number } | undefined
  for (const connection of open) {
    if (isJudged(connection)) continue
    const held = byAddress.get(connection.peer) ?? { first: connection, count: 0 }
    held.count++
    byAddress.set(connection.peer, held)
    if (most === undefined || held.count > most.count) most = held
  }
  return most?.first
}

/**
 * Whether its request has arrived and has no answer yet: that takes seconds at most, and a refused pod would be its price.
 * An answer that nobody reads keeps no place.
 */
function isJudged({ exchange }: Connection): boolean {
  return exchange?.request.complete === true && !exchange.response.writableEnded
}

/** The same for a TCP socket and the TLS one over it; undefined where it is closed already. */
function keyOf({ remoteAddress, remotePort, localAddress }: Socket): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort} ${localAddress}`
}
