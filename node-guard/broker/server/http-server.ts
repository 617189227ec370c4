import { createServer, type Server } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { canonicalAddress } from '../../../common/canonical-address.ts'
import { boundedConnections, limitPipelining } from '../../../common/connections.ts'
import type { BrokerApp } from './app.ts'

/** A sidecar needs one connection, two while it renews. */
const MAX_CONNECTIONS_PER_PEER = 8
/** 250 pods (the kubelet's largest common limit) with two each. */
const MAX_CONNECTIONS = 512
/** Requests in progress on one connection: a sidecar sends one and closes it (HTTP/1.0). */
const MAX_PIPELINED = 2

/**
 * An HTTP server for the broker, hardened against the pods it serves: every exchange is short and small, and neither one peer
 * nor many together can take the connections of the others.
 */
export function brokerServer(app: BrokerApp): Server {
  const server = createServer(
    {
      // A projected token is about 1 kB.
      maxHeaderSize: 12 * 1024,
      headersTimeout: 5000,
      requestTimeout: 10_000,
      keepAliveTimeout: 1000,
      connectionsCheckingInterval: 1000,
    },
    limitPipelining(MAX_PIPELINED, getRequestListener(app.fetch)),
  )
  server.maxRequestsPerSocket = 100
  boundedConnections({
    max: MAX_CONNECTIONS,
    maxPerPeer: MAX_CONNECTIONS_PER_PEER,
    peerOf: ({ remoteAddress = '' }) => canonicalAddress(remoteAddress),
  }).watch(server)
  return server
}
