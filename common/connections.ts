/**
 * Bounds on connections that do not lock a good client out. When all are taken, the address that holds most of them makes
 * room: with the connection that has been waiting longest without a request under way, or, where each of its connections has
 * one and it holds more than the newcomer, with its oldest. Who opens hundreds loses their own.
 */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

export type Connections = {
  /** Watches a server; several may share one bound. */
  readonly watch: (server: Server) => void
  /** The answer still under way on a connection, if any. */
  readonly underWay: (socket: Socket) => ServerResponse | undefined
  /** Open connections. */
  readonly count: () => number
}

type Open = { readonly peer: string; outgoing: ServerResponse | undefined }

/**
 * @param bounds `most`: how many connections may be open; `perPeer`: how many of one address, if that is bounded too;
 *   `onEnded`: told of each connection that is ended for that
 * @param peerOf whose a connection is; by default its address's, as the kernel spells it
 */
export function boundedConnections(
  {
    most,
    perPeer = Number.POSITIVE_INFINITY,
    onEnded,
  }: { readonly most: number; readonly perPeer?: number; readonly onEnded?: () => void },
  peerOf: (socket: Socket) => string = ({ remoteAddress = '' }) => remoteAddress,
): Connections {
  // A Map keeps the order of insertion, and what becomes idle is put last: the first idle one is the one that waits longest.
  const open = new Map<Socket, Open>()
  const held = new Map<string, number>()

  const leave = (socket: Socket) => {
    const peer = open.get(socket)?.peer
    if (peer === undefined) return
    open.delete(socket)
    const left = (held.get(peer) ?? 1) - 1
    if (left > 0) held.set(peer, left)
    else held.delete(peer)
  }
  /** Of the address that holds most: what waits longest, else its oldest, where the newcomer will not hold as many itself. */
  const dispensable = (newcomer: string): Socket | undefined => {
    let found: { readonly socket: Socket; readonly isIdle: boolean; readonly of: number } | undefined
    for (const [socket, { peer, outgoing }] of open) {
      const [isIdle, of] = [outgoing === undefined, held.get(peer) ?? 0]
      if (!found || of > found.of || (of === found.of && isIdle && !found.isIdle))
        found = { socket, isIdle, of }
    }
    return found && (found.isIdle || found.of > (held.get(newcomer) ?? 0) + 1) ? found.socket : undefined
  }
  const end = (socket: Socket) => {
    onEnded?.()
    return socket.destroy()
  }
  const admit = (socket: Socket) => {
    const peer = peerOf(socket)
    if ((held.get(peer) ?? 0) >= perPeer) return end(socket)
    if (open.size >= most) {
      const other = dispensable(peer)
      if (other === undefined) return end(socket)
      leave(other)
      end(other)
    }
    open.set(socket, { peer, outgoing: undefined })
    held.set(peer, (held.get(peer) ?? 0) + 1)
    return socket.once('close', () => leave(socket))
  }
  return {
    watch: (server) => {
      server.on('connection', admit)
      server.prependListener('request', ({ socket }: IncomingMessage, outgoing: ServerResponse) => {
        const one = open.get(socket)
        if (one === undefined) return
        one.outgoing = outgoing
        outgoing.once('close', () => {
          if (one.outgoing !== outgoing || !open.delete(socket)) return
          one.outgoing = undefined
          open.set(socket, one)
        })
      })
    },
    underWay: (socket) => open.get(socket)?.outgoing,
    count: () => open.size,
  }
}

/**
 * A listener that ends a connection on which more than `most` requests are under way at a time: answers that nobody reads, and
 * requests that wait for theirs, pile up in memory.
 *
 * @param onEnded told of each such connection
 */
export function limitPipelining(
  most: number,
  listener: RequestListener,
  onEnded?: () => void,
): RequestListener {
  const underWay = new WeakMap<Socket, number>()
  return (incoming, outgoing) => {
    const { socket } = incoming
    const count = (underWay.get(socket) ?? 0) + 1
    if (socket.destroyed) return
    if (count > most) {
      onEnded?.()
      socket.destroy()
      return
    }
    underWay.set(socket, count)
    outgoing.once('close', () => underWay.set(socket, (underWay.get(socket) ?? 1) - 1))
    listener(incoming, outgoing)
  }
}
