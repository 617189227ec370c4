/** The TLS listeners of the API server: TCP addresses, which can be closed and reopened, and the unix socket. */

import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { Socket } from 'node:net'
import { listenAt } from '../../listen.ts'
import type { ListenAddress } from './protocol.ts'
import type { Upgrade } from './streams.ts'

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>
type Tls = { readonly cert: string; readonly key: string }

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

const bind = async (server: Server, { host, port }: ListenAddress): Promise<ListenAddress> => ({
  host,
  port: await listenAt(server, host, port),
})

export type Listeners = {
  readonly addresses: readonly ListenAddress[]
  /** Closes the TCP listeners and resets their connections; the unix socket stays. */
  refuse(): Promise<void>
  /** Listens again on the same addresses. */
  accept(): Promise<void>
}

/** Opens all listeners. Port 0 chooses a free one, which is then kept. */
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
  // No idle connection is closed, because the test's next request might be in transit on it.
  unix.keepAliveTimeout = 0
  unix.listen({ path })
  await once(unix, 'listening')
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
