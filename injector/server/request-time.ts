/**
 * A bound on the time in which a request arrives, from its first byte on. Node counts from the moment when the connection
 * was made, and Go's transport makes more of them than it uses: it keeps the others for later, as long as any idle one. Ended
 * after ten seconds, the first review over it might find it closed, and under `failurePolicy: Fail` that is a refused pod.
 */
import { type Clock, pause } from '../../common/clock.ts'
import { isIdle, type OpenConnection, type OpenConnections } from './open-connections.ts'

/** How often it is looked, milliseconds: as much later than its time a connection may end. */
const LOOK_MS = 1000
const TOO_LATE = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'

/**
 * Looks until it is told to stop.
 *
 * @param most milliseconds
 */
export async function boundRequestTime(
  connections: OpenConnections,
  most: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const begun = new WeakMap<OpenConnection, { readonly at: number; readonly bytesBefore: number }>()
  while (!signal.aborted) {
    const now = clock.now()
    for (const connection of connections.secure()) {
      const { socket, bytesBefore } = connection
      if (!isArriving(connection)) {
        begun.delete(connection)
        continue
      }
      const since = begun.get(connection)
      if (since?.bytesBefore !== bytesBefore) begun.set(connection, { at: now, bytesBefore })
      else if (now - since.at >= most) {
        if (socket.writable) socket.end(TOO_LATE)
        else socket.destroy()
      }
    }
    await pause(clock, LOOK_MS, signal)
  }
}

function isArriving(connection: OpenConnection): boolean {
  if (connection.underWay.size === 0) return !isIdle(connection)
  return [...connection.underWay].some(({ complete }) => !complete)
}
