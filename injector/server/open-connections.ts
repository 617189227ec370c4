/** What the server knows about each connection: whether a request is in progress, and since when it has been open. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { SteadyClock } from '../../common/clock.ts'

export type OpenConnection = {
  readonly socket: TLSSocket
  /** When its handshake was complete. */
  readonly since: number
  /** Requests whose headers have arrived and whose answer is not sent yet, oldest first. */
  readonly underWay: Set<IncomingMessage>
  /** Whether it has ever carried a request. */
  isUsed: boolean
  /** Bytes that had arrived when the last answer was sent: any more are the beginning of a request. */
  bytesBefore: number
}

export type OpenConnections = ReturnType<typeof openConnections>

/** @param server an HTTPS server that has no connection yet */
export function openConnections(server: Server, clock: Pick<SteadyClock, 'monotonic'>) {
  const accepted = new Set<Socket>()
  const secure = new Map<Socket, OpenConnection>()
  let lastAccepted = Number.NEGATIVE_INFINITY
  server.on('connection', (socket: Socket) => {
    lastAccepted = clock.monotonic()
    accepted.add(socket)
    socket.once('close', () => accepted.delete(socket))
  })
  server.on('secureConnection', (socket: TLSSocket) => {
    secure.set(socket, {
      socket,
      since: clock.monotonic(),
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
    /** Those whose handshake is complete. */
    secure: () => secure.values(),
    /** All of them, including those still in their handshake. */
    count: () => accepted.size,
    /** When the last connection was accepted. */
    lastAccepted: () => lastAccepted,
    destroyAll: () => {
      for (const socket of accepted) socket.destroy()
    },
  }
}

/** Whether no part of a request has arrived. */
export function isIdle({ socket, underWay, bytesBefore }: OpenConnection): boolean {
  return underWay.size === 0 && socket.bytesRead === bytesBefore
}
