/**
 * Bounds the number of open connections so that one peer cannot lock out the others: any pod of the cluster can reach the
 * port, and the API servers must still get in. A new connection is always accepted, and for it the address with the most
 * inactive connections loses one. Unlike common/connections.ts, this never ends a connection on which a review is being
 * judged, whatever its address holds: it may be an API server's, and its pod would be refused.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

type Connection = {
  readonly socket: Socket
  readonly address: string
  exchange: Exchange | undefined
}
type Exchange = { readonly request: IncomingMessage; readonly response: ServerResponse }

/**
 * @param server an HTTPS server that has no connection yet
 * @param max connections at the same time
 */
export function boundConnections(server: Server, max: number): void {
  // Ordered by each connection's last event, so the first inactive one has been inactive for the longest time.
  const open = new Map<string, Connection>()
  const makeLast = (key: string, connection: Connection, exchange: Exchange | undefined) => {
    open.delete(key)
    connection.exchange = exchange
    open.set(key, connection)
  }
  server.on('connection', (socket: Socket) => {
    const key = keyOf(socket)
    if (open.size >= max) evict(open)
    if (open.size >= max || key === undefined) {
      socket.destroy()
      return
    }
    const connection = { socket, address: socket.remoteAddress ?? '', exchange: undefined }
    open.set(key, connection)
    socket.once('close', () => {
      if (open.get(key) === connection) open.delete(key)
    })
  })
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const key = keyOf(request.socket)
    const connection = key === undefined ? undefined : open.get(key)
    if (key === undefined || connection === undefined) return
    const exchange = { request, response }
    makeLast(key, connection, exchange)
    response.once('close', () => {
      if (open.get(key) === connection && connection.exchange === exchange)
        makeLast(key, connection, undefined)
    })
  })
}

/** Ends the longest inactive connection of the address that has most of them; none where a review is being judged on each. */
function evict(open: Map<string, Connection>): void {
  const byAddress = new Map<string, { first: string; count: number }>()
  let most: { first: string; count: number } | undefined
  for (const [key, { address, exchange }] of open) {
    if (isJudged(exchange)) continue
    const held = byAddress.get(address) ?? { first: key, count: 0 }
    held.count++
    byAddress.set(address, held)
    if (most === undefined || held.count > most.count) most = held
  }
  if (most === undefined) return
  open.get(most.first)?.socket.destroy()
  open.delete(most.first)
}

/**
 * Whether its request has arrived and is not answered yet. That takes seconds at most, and ending it would refuse a pod. An
 * answer that its client does not read protects no connection.
 */
function isJudged(exchange: Exchange | undefined): boolean {
  return exchange?.request.complete === true && !exchange.response.writableEnded
}

/** The same key for a TCP socket and the TLS socket on top of it; undefined where the socket is already closed. */
function keyOf({ remoteAddress, remotePort, localAddress }: Socket): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort} ${localAddress}`
}
