/** A TCP proxy that can be closed and opened again, so that its clients cannot reach the server. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket, type TcpNetConnectOpts } from 'node:net'
import { freePort } from '../support/free-port.ts'

export type Gate = {
  readonly port: number
  /** Bytes that the server has sent through it so far. */
  readonly received: () => number
  /** Every connection is reset, and new ones are refused. */
  readonly shut: () => Promise<void>
  readonly open: () => Promise<void>
}

/** @param target the server, which is requested for each connection */
export async function openGate(target: () => TcpNetConnectOpts): Promise<Gate> {
  const sockets = new Set<Socket>()
  let received = 0
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).once('close', () => sockets.delete(socket))
  }
  const listen = async (port: number): Promise<Server> => {
    const server = createServer((near) => {
      const far = connect(target())
      far.on('data', (chunk) => {
        received += chunk.length
      })
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        keep(one)
        one.pipe(other)
        one.once('close', () => other.destroy())
      }
    })
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return server
  }
  // Nothing else takes the port while the gate is shut.
  const port = await freePort()
  let server = await listen(port)
  return {
    port,
    received: () => received,
    shut: async () => {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
      await closed
    },
    open: async () => {
      if (!server.listening) server = await listen(port)
    },
  }
}
