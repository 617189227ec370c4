/** The TLS listeners of the API server: TCP addresses, which can be shut and reopened, and the unix socket. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { Socket } from 'node:net'
import type { ListenAddress } from '../client/protocol.ts'
import type { Upgrade } from './streams.ts'

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>
type Tls = { readonly cert: string; readonly key: string }

/** A fresh address in a network namespace may still be tentative (IPv6 duplicate address detection). */
const BIND_DEADLINE_MS = 60_000
const BIND_RETRY_MS = 50

function newServer(tls: Tls, handler: Handler, upgrade: Upgrade, sockets: Set<Socket>): Server {
  const server = createServer(
    { ...tls, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] },
    (request, response) => {
      handler(request, response).catch(() => response.destroy())
    },
  )
  server.keepAliveTimeout = 180_000
  server.requestTimeout = 60_000
  server.on('upgrade', upgrade)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  return server
}

function listenOnce(server: Server, where: { host: string; port: number } | { path: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      server.off('error', failed)
      server.off('listening', listening)
      settle()
    }
    const failed = (error: Error) => done(() => reject(error))
    const listening = () => done(resolve)
    server.once('error', failed)
    server.once('listening', listening)
    server.listen(where)
  })
}

async function bind(server: Server, address: ListenAddress): Promise<ListenAddress> {
  const deadline = Date.now() + BIND_DEADLINE_MS
  for (;;) {
    try {
      await listenOnce(server, { host: address.host, port: address.port })
      const bound = server.address()
      return {
        host: address.host,
        port: typeof bound === 'object' && bound !== null ? bound.port : address.port,
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      const isTentative = code === 'EADDRNOTAVAIL' && address.host.includes(':')
      if (!isTentative || Date.now() > deadline) throw error
      await new Promise((resolve) => setTimeout(resolve, BIND_RETRY_MS))
    }
  }
}

export type Listeners = {
  readonly addresses: readonly ListenAddress[]
  /** Closes the TCP listeners and resets their connections; the unix socket stays. */
  refuse(): Promise<void>
  /** Listens again on the same addresses. */
  accept(): Promise<void>
}

/** Opens all listeners. Port 0 picks a free one, kept for good. */
export async function openListeners(
  tls: Tls,
  addresses: readonly ListenAddress[],
  path: string,
  tcpHandler: Handler,
  unixHandler: Handler,
  upgrade: Upgrade,
): Promise<Listeners> {
  const sockets = new Set<Socket>()
  const unix = newServer(tls, unixHandler, upgrade, new Set())
  // No idle connection is given up: the test's next request might be on its way over it.
  unix.keepAliveTimeout = 0
  await listenOnce(unix, { path })
  const open = async (wanted: readonly ListenAddress[]) => {
    const servers = wanted.map(() => newServer(tls, tcpHandler, upgrade, sockets))
    const bound = await Promise.all(
      servers.map((server, i) => bind(server, wanted[i] ?? { host: '', port: 0 })),
    )
    return { servers, bound }
  }
  let { servers, bound } = await open(addresses)
  return {
    addresses: bound,
    async refuse() {
      const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)))
      for (const socket of sockets) socket.resetAndDestroy()
      await Promise.all(closed)
      servers = []
    },
    async accept() {
      if (servers.length === 0) ({ servers } = await open(bound))
    },
  }
}
