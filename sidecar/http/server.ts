/** The HTTP server of the metadata service: limits, slow clients, malformed requests, a shutdown that loses no answer. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { boundedConnections, type Connections, limitPipelining } from '../../common/connections.ts'
import type { Refusal } from '../health/refusals.ts'
import { rawErrorResponse } from '../imds/pages.ts'
import { type ParserError, parserRefusal } from './parser-refusal.ts'

export const LIMITS = {
  /** Request line and headers, bytes: a path of 4096 and what SDKs send. */
  headers: 8192,
  /** Header lines; a limit of bytes alone lets hundreds of empty ones through. SDKs send up to 15. */
  headerLines: 100,
  /** Request bodies have no meaning here: Ruby sends an empty form, every other SDK nothing. */
  body: 4096,
  /**
   * Connections. Beyond the first number each answer says that it is the last one on its connection, as EC2's do, so that
   * a pod with hundreds of workers keeps no idle ones open here; beyond the second the one that has been idle longest is closed without notice.
   */
  keptAlive: 128,
  connections: 512,
  /** Requests on one connection whose answers are under way; unread answers pile up in memory beyond that. */
  pipelined: 16,
  /** Time for the headers to arrive and for the whole request, milliseconds. */
  headersTimeout: 5000,
  requestTimeout: 10_000,
  /** Clients keep idle connections for 5 s and longer; ours close later than that. */
  keepAlive: 15_000,
  /** How long the shutdown waits for clients of open connections, twice, milliseconds. */
  drain: 250,
} as const

/** Connections that wait to be accepted. */
const BACKLOG = 511

export type MetadataServer = ReturnType<typeof metadataServer>

/** Called with the reason when an exchange ends that never reached the listener; without a status there was no answer. */
export type OnRefused = (
  refusal: Refusal,
  status: number | undefined,
  more?: { readonly method?: string | undefined; readonly parser?: string | undefined },
) => void

/** The server, with a listener for what is HTTP. */
export function metadataServer(listener: RequestListener, onRefused: OnRefused) {
  const connections = boundedConnections({
    max: LIMITS.connections,
    // All are of this pod, and asking for an address is a call to the kernel.
    peerOf: () => '',
    onEnded: () => onRefused('too-many-connections', undefined),
  })
  const last = new WeakMap<Socket, IncomingMessage>()
  let closing = false
  const answering = limitPipelining(
    LIMITS.pipelined,
    (incoming, outgoing) => {
      last.set(incoming.socket, incoming)
      if (closing || connections.count() > LIMITS.keptAlive) outgoing.shouldKeepAlive = false
      listener(incoming, outgoing)
    },
    () => onRefused('pipelining', undefined),
  )
  const servers: Server[] = []
  const open = async (host: '127.0.0.1' | '::1', port: number) => {
    const server = hardenedServer(answering, connections, last, onRefused)
    const bound = await listenOn(server, host, port)
    servers.push(server)
    return bound
  }
  return {
    /** Listens on 127.0.0.1 and resolves with the port; rejects if it cannot be bound. */
    listen: (port: number) => open('127.0.0.1', port),
    /**
     * Listens on ::1 too, if the pod has it; rejects if another process uses the port.
     */
    listenIpv6: async (port: number) => {
      try {
        await open('::1', port)
      } catch (error) {
        // A pod may have no IPv6; a port that is taken is an error.
        if (!isMissingAddress(error)) throw error
      }
    },
    /** Answers the requests that have arrived, then closes. */
    close: async () => {
      closing = true
      // Keep-alive clients may be sending at this very moment: their next answer announces that it is the last one.
      if (connections.count() > 0) await new Promise((done) => setTimeout(done, LIMITS.drain))
      // Requests that have arrived by now are read and answered before the rest is closed.
      for (let turns = 0; turns < 5; turns++) await new Promise((done) => setImmediate(done))
      const closed = servers.map((server) => new Promise((done) => server.close(done)))
      // A client that has sent only half a request by then is not waited for.
      setTimeout(() => {
        for (const server of servers) server.closeAllConnections()
      }, LIMITS.drain)
      await Promise.all(closed)
    },
  }
}

/** @param last the latest request on each connection */
function hardenedServer(
  answering: RequestListener,
  connections: Connections,
  last: WeakMap<Socket, IncomingMessage>,
  onRefused: OnRefused,
): Server {
  const server = createServer(
    {
      maxHeaderSize: LIMITS.headers,
      headersTimeout: LIMITS.headersTimeout,
      requestTimeout: LIMITS.requestTimeout,
      keepAliveTimeout: LIMITS.keepAlive,
      connectionsCheckingInterval: 1000,
      requireHostHeader: false,
    },
    answering,
  )
  connections.watch(server)
  server.on('clientError', (error: ParserError, socket) => {
    const { refusal, status, parser } = parserRefusal(error)
    // The error is in the body of a request that the app has already answered and counted: bodies are ignored.
    const isBody = last.get(socket as Socket)?.complete === false
    if (refusal !== undefined && !isBody) onRefused(refusal, status, { parser })
    const text = status === undefined || isBody ? '' : rawErrorResponse(status, Date.now())
    // A good request before this one on the same connection still gets its answer, and in its order.
    const outgoing = connections.underWay(socket as Socket)
    if (outgoing === undefined) endSocket(socket as Socket, text)
    else outgoing.once('close', () => endSocket(socket as Socket, text))
  })
  // RFC 9110 section 10.1.1 allows ignoring the expectation; node:http would answer 417.
  server.on('checkExpectation', (incoming, outgoing) => void server.emit('request', incoming, outgoing))
  server.on('connect', ({ method }, socket) => {
    onRefused('method', 405, { method })
    endSocket(socket as Socket, rawErrorResponse(405, Date.now()))
  })
  return server
}

/**
 * Listens and resolves with the port, which the system chooses for 0; rejects if it cannot be bound.
 *
 * @param host `127.0.0.1`, `::1`, or undefined for all addresses
 */
export function listenOn(
  server: Server,
  host: '127.0.0.1' | '::1' | undefined,
  port: number,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  server.once('error', reject)
  server.once('listening', () => {
    server.off('error', reject)
    const address = server.address()
    resolve(typeof address === 'object' && address !== null ? address.port : port)
  })
  const bind = (server as BindingServer)._listen2
  if (bind === undefined) server.listen({ ...(host && { host }), port, backlog: BACKLOG })
  // Without an address it tries :: first, whatever the type.
  else bind.call(server, host ?? null, port, host === '::1' ? 6 : 4, BACKLOG)
  return promise
}

/**
 * The step of `listen()` behind its look-up of names, as Node's own cluster module calls it. Literal addresses need no
 * look-up, and Node looks them up with a regular expression for IPv6 that V8 turns into 160 KiB of machine code: 0.3 MiB
 * and 5 ms in every pod (README.md). Without a host there is no look-up, but `listen()` loads the cluster module, 1 ms. It is an old,
 * undocumented name; where it is gone, `listen()` does the same.
 */
type BindingServer = Server & {
  readonly _listen2?: (address: string | null, port: number, addressType: 4 | 6, backlog: number) => void
}

function isMissingAddress(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT' || code === 'EINVAL'
}

/** Sends a last answer and closes the connection soon, whether the answer was read or not. */
function endSocket(socket: Socket, answer: string): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  socket.end(answer)
  // Closing at once, with input unread, would reset the connection and might take the answer with it.
  socket.resume()
  setTimeout(() => socket.destroy(), 500).unref()
}
