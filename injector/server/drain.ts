/**
 * The end of the webhook server, without a review that gets no answer (decision 0093). An API server keeps idle connections
 * and uses one at the moment when it has a review; one that is closed just then is a refused pod, because a POST that
 * was written is not sent again. So no idle connection is closed: its client is brought to close it.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { type Clock, pause } from '../../common/clock.ts'
import { isIdle, type OpenConnection, type OpenConnections } from './open-connections.ts'

/** As long as new connections come, this server still is an endpoint for somebody: it goes on, so many times as long. */
export const MAX_ACCEPTING = 3
/**
 * After the time of accepting, at most: an API server waits five seconds for an answer, which may take them on a node without a
 * free core. Where nothing is under way, it ends at once.
 */
export const ENDING_MS = 10_000
/** Without a new connection, before it is believed that none comes. */
const QUIET_MS = 1000
/** A connection that has just been made is about to be used. */
const FRESH_MS = 1000
/** For a client to close its connection. Go's does at once, when its node lets it run. */
const TOLD_MS = 5000
const LOOK_MS = 20
/** The last two where nobody waits for an endpoint to leave its Service: SIGTERM then ends the process within a second. */
const [SHORT_ENDING_MS, SHORT_TOLD_MS] = [800, 300]

/**
 * An interim response that belongs to no request. A client that has none under way must not take it for an answer and closes
 * the connection (RFC 9112, section 9.2; Go's net/http does, and logs this line). A client whose request is on its
 * way at this very moment skips it, like every 1xx (RFC 9110, section 15.2), and gets its answer, which says `close`.
 */
const LAST_WORDS = 'HTTP/1.1 103 pod2iam is shutting down\r\n\r\n'

/**
 * Resolves when no connection is left. From the call on, every answer must say `Connection: close`, and the server must
 * go on accepting.
 *
 * @param acceptMs in which the endpoint leaves the Service everywhere; 0: it has left, and nothing is waited for longer than a second
 */
export async function drained(connections: OpenConnections, acceptMs: number, clock: Clock): Promise<void> {
  await endpointGone(connections, acceptMs, clock)
  const began = clock.now()
  const told = new Map<OpenConnection, number>()
  const [endingMs, toldMs] = acceptMs === 0 ? [SHORT_ENDING_MS, SHORT_TOLD_MS] : [ENDING_MS, TOLD_MS]
  while (clock.now() - began < endingMs) {
    for (const connection of connections.secure()) endIdle(connection, told, toldMs, clock.now())
    // What has been made meanwhile is accepted first.
    await turn()
    if (connections.count() === 0) return
    await pause(clock, LOOK_MS)
  }
  connections.destroyAll()
}

async function endpointGone(connections: OpenConnections, acceptMs: number, clock: Clock): Promise<void> {
  const began = clock.now()
  for (let wait = acceptMs; wait > 0; ) {
    await pause(clock, wait)
    const now = clock.now()
    const quiet = connections.lastAccepted() + QUIET_MS - now
    wait = Math.min(quiet, began + MAX_ACCEPTING * acceptMs - now)
  }
}

function endIdle(
  connection: OpenConnection,
  told: Map<OpenConnection, number>,
  toldMs: number,
  now: number,
): void {
  const { socket, since, isUsed } = connection
  if (!isIdle(connection) || !socket.writable) return
  const toldAt = told.get(connection)
  if (toldAt === undefined) {
    if (!isUsed && now - since < FRESH_MS) return
    told.set(connection, now)
    socket.write(LAST_WORDS)
  } else if (now - toldAt >= toldMs) {
    // Half of it: what comes after that is read, and not answered by a reset.
    socket.end()
  }
}
