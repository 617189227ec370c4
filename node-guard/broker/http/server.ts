import { createServer, type Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import { canonicalAddress } from '../decide/peer.ts'
import type { BrokerApp } from './app.ts'

/** A sidecar needs one connection, two while it renews. */
const CONNECTIONS_PER_PEER = 8
/** 250 pods (the kubelet's largest common limit) with two each. */
const MAX_CONNECTIONS = 512

/**
 * An HTTP server for the broker, hardened against the pods it serves: every exchange is short and small, and no peer
 * takes the connections of the others.
 */
export function brokerServer(app: BrokerApp): Server {
  const server = createAdaptorServer({
    fetch: app.fetch,
    createServer,
    serverOptions: {
      // A projected token is about 1 kB.
      maxHeaderSize: 12 * 1024,
      headersTimeout: 5000,
      requestTimeout: 10_000,
      keepAliveTimeout: 60_000,
      connectionsCheckingInterval: 1000,
    },
  }) as Server
  server.maxConnections = MAX_CONNECTIONS
  server.maxRequestsPerSocket = 1000
  limitPerPeer(server)
  return server
}

function limitPerPeer(server: Server): void {
  const open = new Map<string, number>()
  server.on('connection', (socket) => {
    const peer = canonicalAddress(socket.remoteAddress ?? '')
    const count = open.get(peer) ?? 0
    if (count >= CONNECTIONS_PER_PEER) {
      socket.destroy()
      return
    }
    open.set(peer, count + 1)
    socket.once('close', () => {
      const left = (open.get(peer) ?? 1) - 1
      if (left > 0) open.set(peer, left)
      else open.delete(peer)
    })
  })
}
