/**
 * A bound on open connections that does not lock a good client out: when it is reached, the connection that has
 * been waiting longest without a request under way makes room. A client that opens hundreds and says nothing loses
 * its own.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

export type Connections = {
  /** Watches a server; several may share one bound. */
  readonly watch: (server: Server) => void
  /** The answer still under way on a connection, if any. */
  readonly underWay: (socket: Socket) => ServerResponse | undefined
  /** Open connections. */
  readonly count: () => number
}

/** @param most how many connections may be open */
export function boundedConnections(most: number): Connections {
  const open = new Map<Socket, ServerResponse | undefined>()

  const makeRoom = () => {
    for (const [socket, outgoing] of open)
      if (outgoing === undefined) {
        open.delete(socket)
        socket.destroy()
        return
      }
  }
  const idle = (socket: Socket) => {
    // Put last: a Map keeps the order of insertion, so the first idle one is the one that waits longest.
    if (open.delete(socket) && !socket.destroyed) open.set(socket, undefined)
  }
  return {
    watch: (server) => {
      server.on('connection', (socket: Socket) => {
        if (open.size >= most) makeRoom()
        if (open.size >= most) {
          socket.destroy()
          return
        }
        open.set(socket, undefined)
        socket.once('close', () => open.delete(socket))
      })
      server.prependListener('request', ({ socket }: IncomingMessage, outgoing: ServerResponse) => {
        if (!open.has(socket)) return
        open.set(socket, outgoing)
        outgoing.once('close', () => {
          if (open.get(socket) === outgoing) idle(socket)
        })
      })
    },
    underWay: (socket) => open.get(socket),
    count: () => open.size,
  }
}
