/**
 * Bounds the number of open connections so that one peer cannot lock out the others: any pod of the cluster can reach the
 * port, and the API servers must still get in. A new connection is always accepted, and for it the address with the most
 * inactive connections loses one. Unlike `evictFromLargestPeer` of common/connections.ts, this never ends a connection on which a review is being
 * judged, no matter how much its address uses: it may belong to an API server, and its pod would be refused.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { boundedConnections, type Connection, type Eviction } from '../../common/connections.ts'

/**
 * @param server an HTTPS server that has no connection yet
 * @param max connections at the same time
 */
export function boundConnections(server: Server, max: number): void {
  boundedConnections({ max, evict: longestInactive, keyOf }).watch(server)
}

/** The longest inactive connection of the address that has most of them; none where a review is being judged on each. */
const longestInactive: Eviction = (open) => {
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
 * Whether its request has arrived and is not answered yet. That takes seconds at most, and ending it would refuse a pod. An
 * answer that its client does not read protects no connection.
 */
function isJudged({ exchange }: Connection): boolean {
  return exchange?.request.complete === true && !exchange.response.writableEnded
}

/** The same key for a TCP socket and the TLS socket on top of it; undefined if the socket is already closed. */
function keyOf({ remoteAddress, remotePort, localAddress }: Socket): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort} ${localAddress}`
}
