/**
 * Ends the webhook server without leaving a review unanswered (decision 0093). An API server keeps idle connections and
 * uses one as soon as it has a review. If we closed the connection at that moment, a pod would be refused, because the API
 * server does not repeat a POST that it has written. So we close no idle connection: we make its client close it.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { pause, type SteadyClock } from '../../common/clock.ts'
import { isIdle, type OpenConnection, type OpenConnections } from './open-connections.ts'

/** While new connections arrive, this server is still in use as an endpoint, so it continues to accept for up to this many times `acceptMs`. */
export const MAX_ACCEPTING = 3
/**
 * Upper bound on what follows the time of accepting. An API server waits five seconds for an answer, and on a node without a
 * free core an answer may take that long. Where no review is in progress, the server ends immediately.
 */
export const ENDING_MS = 10_000
/** After this time without a new connection we assume that no more will come. */
const QUIET_MS = 1000
/** A connection younger than this is probably about to be used. */
const FRESH_MS = 1000
/** Time for a client to close its connection. Go's client does so immediately, once its node lets it run. */
const CLOSE_MS = 5000
const POLL_MS = 20
/** `ENDING_MS` and `CLOSE_MS` where `acceptMs` is 0: SIGTERM then ends the process within a second. */
const [SHORT_ENDING_MS, SHORT_CLOSE_MS] = [800, 300]

/**
 * An interim response that belongs to no request. A client without a pending request must not take it for an answer and
 * closes the connection (RFC 9112, section 9.2; Go's net/http does, and logs this line). A client that is sending a request at
 * this moment skips it, like every 1xx (RFC 9110, section 15.2), and gets its answer, which says `Connection: close`.
 */
const CLOSING_NOTICE = 'HTTP/1.1 103 pod2iam is shutting down\r\n\r\n'

/**
 * Resolves when no connection is left. From this call on, every answer must say `Connection: close`, and the server must
 * go on accepting connections.
 *
 * @param acceptMs time for the endpoint to leave the Service everywhere; 0 means that it has left, and the drain takes less than a second
 */
export async function drained(
  connections: OpenConnections,
  acceptMs: number,
  clock: SteadyClock,
): Promise<void> {
  await endpointGone(connections, acceptMs, clock)
  const began = clock.monotonic()
  const noticedAt = new Map<OpenConnection, number>()
  const [endingMs, closeMs] = acceptMs === 0 ? [SHORT_ENDING_MS, SHORT_CLOSE_MS] : [ENDING_MS, CLOSE_MS]
  while (clock.monotonic() - began < endingMs) {
    for (const connection of connections.secure()) endIdle(connection, noticedAt, closeMs, clock.monotonic())
    // Accept first what has connected in the meantime.
    await turn()
    if (connections.count() === 0) return
    await pause(clock, POLL_MS)
  }
  connections.destroyAll()
}

async function endpointGone(
  connections: OpenConnections,
  acceptMs: number,
  clock: SteadyClock,
): Promise<void> {
  const began = clock.monotonic()
  for (let wait = acceptMs; wait > 0; ) {
    await pause(clock, wait)
    const now = clock.monotonic()
    const quiet = connections.lastAccepted() + QUIET_MS - now
    wait = Math.min(quiet, began + MAX_ACCEPTING * acceptMs - now)
  }
}

function endIdle(
  connection: OpenConnection,
  noticedAt: Map<OpenConnection, number>,
  closeMs: number,
  now: number,
): void {
  const { socket, since, isUsed } = connection
  if (!isIdle(connection) || !socket.writable) return
  const noticed = noticedAt.get(connection)
  if (noticed === undefined) {
    if (!isUsed && now - since < FRESH_MS) return
    noticedAt.set(connection, now)
    socket.write(CLOSING_NOTICE)
  } else if (now - noticed >= closeMs) {
    // Close only our half: what still arrives is read, and not answered by a reset.
    socket.end()
  }
}
