/**
 * Shuts down a listener after the requests that have arrived are answered. A sidecar opens a connection for each request and sends it
 * at once, so unlike in the injector, a connection that is still idle must not be closed immediately.
 */
import { once } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { type Clock, pause } from '../../../common/clock.ts'

/** Time for a request to arrive on a connection that was just opened. */
const ARRIVING_MS = 250
/** Time for answers: as long as a call to STS may take. */
export const ANSWERING_MS = 5000

/** @returns a function that closes the listener and resolves when no connection is left, or after `ANSWERING_MS` */
export function shutdownOf(server: Server, clock: Clock): () => Promise<void> {
  const underWay = new Map<Socket, number>()
  const count = (socket: Socket, change: 1 | -1) => {
    const before = underWay.get(socket)
    if (before !== undefined) underWay.set(socket, before + change)
  }
  server.on('connection', (socket: Socket) => {
    underWay.set(socket, 0)
    socket.once('close', () => underWay.delete(socket))
  })
  let isEnding = false
  server.prependListener('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    if (isEnding) response.setHeader('Connection', 'close')
    count(socket, 1)
    response.once('close', () => count(socket, -1))
  })
  return async () => {
    isEnding = true
    // The kernel has established connections that are not accepted yet, and would reset them with the listener.
    for (let turns = 0; turns < 5; turns++) await turn()
    const closed = once(server, 'close')
    server.close()
    await Promise.race([closed, pause(clock, ARRIVING_MS)])
    for (const [socket, requests] of underWay) if (requests === 0) socket.destroy()
    await Promise.race([closed, pause(clock, ANSWERING_MS - ARRIVING_MS)])
    server.closeAllConnections()
  }
}
