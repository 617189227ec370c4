/**
 * A bound on open connections by which one peer cannot lock the others out: any pod of the cluster reaches the port, and
 * the API servers must get in all the same. A new connection always gets its place; who has most of those in which
 * nothing is being judged loses one. Unlike common/connections.ts it never ends one in which a review is being judged, not
 * even of who holds most: that may be an API server, and its pod would be refused.
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
 * @param server of HTTPS, before it gets its first connection
 * @param most connections at the same time
 */
export function boundConnections(server: Server, most: number): void {
  // In the order of each one's last event: the first that fits is the one that has been still for longest.
  const open = new Map<string, Connection>()
  const makeLast = (key: string, connection: Connection, exchange: Exchange | undefined) => {
    open.delete(key)
    connection.exchange = exchange
    open.set(key, connection)
  }
  server.on('connection', (socket: Socket) => {
    const key = keyOf(socket)
    if (open.size >= most) evict(open)
    if (open.size >= most || key === undefined) {
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

/** Of the address with most still connections, ends the stillest; none where every one has its review being judged. */
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
 * Whether its request has arrived and has no answer yet: that takes seconds at most, and a refused pod would be its price.
 * An answer that nobody reads keeps no place.
 */
function isJudged(exchange: Exchange | undefined): boolean {
  return exchange?.request.complete === true && !exchange.response.writableEnded
}

/** The same for a TCP socket and the TLS one over it; undefined where it is closed already. */
function keyOf({ remoteAddress, remotePort, localAddress }: Socket): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort} ${localAddress}`
}
