/** Health of a process over plain HTTP: `/livez`, `/readyz`, `/metrics`. Nothing secret and no ARN is reachable here. */
import { createServer, type Server } from 'node:http'
import { boundedConnections, type Eviction } from './connections.ts'
import { messageOf } from './errors.ts'
import type { Logger } from './log.ts'

export type Readiness = {
  readonly ready: boolean
  /** A stable reason code, `ready` when ready. */
  readonly code: string
  /** A sentence; only loopback peers get it, since it may name a role. */
  readonly detail?: string
}

const MAX_CONNECTIONS = 64
/** By default Node looks for late requests only every 30 s. */
const LIMITS = {
  maxHeaderSize: 8192,
  headersTimeout: 5000,
  requestTimeout: 5000,
  keepAliveTimeout: 1000,
  connectionsCheckingInterval: 1000,
}

/** On the host network, any pod may have taken the port. */
const LISTEN_AGAIN_MS = 5000

const JSON_TYPE = 'application/json'
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/**
 * Creates the server; the caller listens and closes. `/livez` answers as long as the event loop runs.
 *
 * @param health `metrics` gives Prometheus' text exposition format
 */
export function healthServer(health: {
  readonly readiness: () => Readiness
  readonly metrics: () => string | Promise<string>
}): Server {
  const server = createServer(LIMITS, async (request, response) => {
    const send = (status: number, type: string, body: string) =>
      response
        .writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) })
        .end(request.method === 'HEAD' ? undefined : body)
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return send(405, JSON_TYPE, '{"error":"GET only"}\n')
    switch (request.url?.split('?')[0]) {
      case '/livez':
        return send(200, JSON_TYPE, '{"live":true}\n')
      case '/readyz': {
        const { ready, code, detail } = health.readiness()
        const body = isLoopback(request.socket.remoteAddress) ? { ready, code, detail } : { ready, code }
        return send(ready ? 200 : 503, JSON_TYPE, `${JSON.stringify(body)}\n`)
      }
      case '/metrics':
        return send(200, METRICS_TYPE, await health.metrics())
      default:
        return send(404, JSON_TYPE, '{"error":"there are /livez, /readyz and /metrics"}\n')
    }
  })
  boundedConnections({ max: MAX_CONNECTIONS, evict: remoteFirst }).watch(server)
  return server
}

/**
 * Listens, and while the port is taken logs that and tries again: the work of the process matters more than its report.
 *
 * @returns stops listening; open connections remain
 */
export function serveHealth(server: Server, port: number, log: Logger): () => void {
  let again: NodeJS.Timeout | undefined
  const start = () => server.listen(port)
  server.on('listening', () => log.info('health served', { port }))
  server.on('error', (error) => {
    // Such as EMFILE on accept: the listener goes on.
    if (server.listening) return log.warn('health listener error', { port, error: messageOf(error) })
    log.error('health not served', {
      code: 'health-port-taken',
      detail: `port ${port} cannot be listened on (${messageOf(error)}): find the process that holds it (ss -ltnp), or set --health-port`,
    })
    again = setTimeout(start, LISTEN_AGAIN_MS).unref()
  })
  start()
  return () => {
    clearTimeout(again)
    server.close()
  }
}

/**
 * Every pod in the cluster can connect here: if the limit is reached, the connection of another host that has been idle longest is closed, and
 * one over loopback (the gate, a probe in the pod) only when there is nothing else.
 */
const remoteFirst: Eviction = (open) => {
  const all = [...open]
  return all.find(({ socket }) => !isLoopback(socket.remoteAddress)) ?? all[0]
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(?:::1|(?:::ffff:)?127\.\d+\.\d+\.\d+)$/.test(address)
}
