/**
 * Limits the time in which a request must arrive, counted from its first byte. Node counts from the moment when the connection
 * was opened, but Go's transport opens more connections than it uses and keeps the others for later. If we closed such a connection
 * after ten seconds, the first review on it could find it closed, and under `failurePolicy: Fail` its pod would be refused.
 */
import { pause, type SteadyClock } from '../../common/clock.ts'
import { isIdle, type OpenConnection, type OpenConnections } from './open-connections.ts'

/** Milliseconds between checks: a connection may end this much later than its time. */
const POLL_MS = 1000
const TOO_LATE = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'

/**
 * Checks until `signal` aborts.
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
