/** What the server knows of each connection: whether a request is under way, and for how long there has been none. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../common/clock.ts'

export type OpenConnection = {
  readonly socket: TLSSocket
  /** When its handshake was done. */
  readonly since: number
  /** Requests whose headers have arrived and whose answer is not sent, the oldest first. */
  readonly underWay: Set<IncomingMessage>
  /** Whether a request came over it, ever. */
  isUsed: boolean
  /** Bytes that had arrived when the last answer was sent: more of them are the beginning of a request. */
  bytesBefore: number
}

export type OpenConnections = {
  /** Those whose handshake is done. */
  readonly secure: () => Iterable<OpenConnection>
  /** All of them, also where the handshake is under way. */
  readonly count: () => number
  /** When the last one was accepted. */
  readonly lastAccepted: () => number
  readonly destroyAll: () => void
}

/** @param server of HTTPS, before it gets its first connection */
export function openConnections(server: Server, clock: Pick<Clock, 'now'>): OpenConnections {
  const accepted = new Set<Socket>()
  const secure = new Map<Socket, OpenConnection>()
  let lastAccepted = Number.NEGATIVE_INFINITY
  server.on('connection', (socket: Socket) => {
    lastAccepted = clock.now()
    accepted.add(socket)
    socket.once('close', () => accepted.delete(socket))
  })
  server.on('secureConnection', (socket: TLSSocket) => {
    secure.set(socket, {
      socket,
      since: clock.now(),
      underWay: new Set(),
      isUsed: false,
      bytesBefore: 0,
    })
    socket.once('close', () => secure.delete(socket))
  })
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const connection = secure.get(request.socket)
    if (connection === undefined) return
    connection.isUsed = true
    connection.underWay.add(request)
    response.once('close', () => {
      connection.underWay.delete(request)
      connection.bytesBefore = connection.socket.bytesRead
    })
  })
  return {
    secure: () => secure.values(),
    count: () => accepted.size,
    lastAccepted: () => lastAccepted,
    destroyAll: () => {
      for (const socket of accepted) socket.destroy()
    },
  }
}

/** Whether nothing of a request is there. */
export function isIdle({ socket, underWay, bytesBefore }: OpenConnection): boolean {
  return underWay.size === 0 && socket.bytesRead === bytesBefore
}
