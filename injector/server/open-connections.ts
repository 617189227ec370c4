/**
 * What the server knows about each connection: whether a request is in progress, and since when it has been open. Also limits the
 * time in which a request must arrive.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { pause, type SteadyClock } from '../../common/clock.ts'

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

/** Milliseconds between checks: a connection may end this much later than its time. */
const POLL_MS = 1000
const TOO_LATE = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'

/**
 * Limits until `signal` aborts the time in which a request must arrive, counted from its first byte. Node counts from the moment
 * when the connection was opened, but Go's transport opens more connections than it uses and keeps the others for later. If we closed
 * such a connection after ten seconds, the first review on it could find it closed, and under `failurePolicy: Fail` its pod would be
 * refused.
 *
 * @param maxMs for a whole request to arrive
 */
export async function boundRequestTime(
  connections: OpenConnections,
  maxMs: number,
  clock: SteadyClock,
  signal: AbortSignal,
): Promise<void> {
  const begun = new WeakMap<OpenConnection, { readonly at: number; readonly bytesBefore: number }>()
  while (!signal.aborted) {
    const now = clock.monotonic()
    for (const connection of connections.secure()) {
      const { socket, bytesBefore } = connection
      if (!isArriving(connection)) {
        begun.delete(connection)
        continue
      }
      const since = begun.get(connection)
      if (since?.bytesBefore !== bytesBefore) begun.set(connection, { at: now, bytesBefore })
      else if (now - since.at >= maxMs) {
        if (socket.writable) socket.end(TOO_LATE)
        else socket.destroy()
      }
    }
    await pause(clock, POLL_MS, signal)
  }
}

function isArriving(connection: OpenConnection): boolean {
  if (connection.underWay.size === 0) return !isIdle(connection)
  return [...connection.underWay].some(({ complete }) => !complete)
}
