/** Limits on connections that do not lock out well-behaved clients: if the limit is reached, an existing connection is closed for the new one. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

export type Connections = ReturnType<typeof boundedConnections>

/** An open connection, and the request under way on it, if any. */
export type Connection = {
  readonly key: unknown
  readonly socket: Socket
  readonly peer: string
  exchange: { readonly request: IncomingMessage; readonly response: ServerResponse } | undefined
}

/**
 * Selects the connection that is closed for a new one; undefined if none may be closed, in which case the new one is closed.
 *
 * @param open in the order of each one's last event: the first of a kind has been waiting longest
 * @param newcomer the peer of the new connection
 * @param held how many connections a peer holds
 */
export type Eviction = (
  open: Iterable<Connection>,
  newcomer: string,
  held: (peer: string) => number,
) => Connection | undefined

type ConnectionBounds = {
  readonly max: number
  readonly maxPerPeer?: number
  /** Absent: {@link evictFromLargestPeer}. */
  readonly evict?: Eviction
  /** Names the peer of a connection; absent: its address, as the kernel spells it. */
  readonly peerOf?: (socket: Socket) => string
  /** A key that is the same for a TCP socket and the TLS socket over it; undefined if the socket is closed. Absent: the socket itself. */
  readonly keyOf?: (socket: Socket) => unknown
  /** Called for each connection that is ended because of a bound. */
  readonly onEnded?: () => void
}

export function boundedConnections({
  max,
  maxPerPeer = Number.POSITIVE_INFINITY,
  evict = evictFromLargestPeer,
  peerOf = ({ remoteAddress = '' }) => remoteAddress,
  keyOf = (socket) => socket,
  onEnded,
}: ConnectionBounds) {
  const open = new Map<unknown, Connection>()
  const byPeer = new Map<string, number>()
  const held = (peer: string) => byPeer.get(peer) ?? 0

  const leave = (connection: Connection) => {
    const { key, peer } = connection
    if (open.get(key) !== connection) return
    open.delete(key)
    if (held(peer) > 1) byPeer.set(peer, held(peer) - 1)
    else byPeer.delete(peer)
  }
  const end = (socket: Socket) => {
    onEnded?.()
    socket.destroy()
  }
  const admit = (socket: Socket) => {
    const [key, peer] = [keyOf(socket), peerOf(socket)]
    if (key === undefined || held(peer) >= maxPerPeer) return end(socket)
    if (open.size >= max) {
      const other = evict(open.values(), peer, held)
      if (other === undefined) return end(socket)
      leave(other)
      end(other.socket)
    }
    const connection: Connection = { key, socket, peer, exchange: undefined }
    open.set(key, connection)
    byPeer.set(peer, held(peer) + 1)
    socket.once('close', () => leave(connection))
  }
  /** Records an event: the connection becomes the last in the order of events. */
  const note = (connection: Connection, exchange: Connection['exchange']) => {
    connection.exchange = exchange
    if (open.get(connection.key) !== connection) return
    open.delete(connection.key)
    open.set(connection.key, connection)
  }
  return {
    /** Watches a server; several may share one bound. */
    watch: (server: Server) => {
      server.on('connection', admit)
      server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
        const connection = open.get(keyOf(request.socket))
        if (connection === undefined) return
        note(connection, { request, response })
        response.once('close', () => {
          if (connection.exchange?.response === response) note(connection, undefined)
        })
      })
    },
    /** The answer still under way on a connection, if any. */
    underWay: (socket: Socket) => open.get(keyOf(socket))?.exchange?.response,
    /** Open connections. */
    count: () => open.size,
  }
}

/**
 * The peer with the most connections loses one: the one that has been idle longest or,
 * if each of its connections has a request in progress and it would still have more than the newcomer, the one whose request is the
 * oldest. A peer that opens hundreds loses its own.
 */
const evictFromLargestPeer: Eviction = (open, newcomer, held) => {
  let found: { readonly connection: Connection; readonly isIdle: boolean; readonly of: number } | undefined
  for (const connection of open) {
    const [isIdle, of] = [connection.exchange === undefined, held(connection.peer)]
    if (!found || of > found.of || (of === found.of && isIdle && !found.isIdle))
      found = { connection, isIdle, of }
  }
  return found && (found.isIdle || found.of > held(newcomer) + 1) ? found.connection : undefined
}

/**
 * A listener that closes a connection on which more than `max` requests are in progress at a time: answers that are not read, and
 * requests that wait for theirs, pile up in memory.
 *
 * @param onEnded called for each such connection
 */
export function limitPipelining(
  max: number,
  listener: RequestListener,
  onEnded?: () => void,
): RequestListener {
  const underWay = new WeakMap<Socket, number>()
  return (incoming, outgoing) => {
    const { socket } = incoming
    const count = (underWay.get(socket) ?? 0) + 1
    if (socket.destroyed) return
    if (count > max) {
      onEnded?.()
      socket.destroy()
      return
    }
    underWay.set(socket, count)
    outgoing.once('close', () => underWay.set(socket, (underWay.get(socket) ?? 1) - 1))
    listener(incoming, outgoing)
  }
}
