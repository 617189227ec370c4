/** exec against a server that speaks the API server's side of the websocket, frame by frame. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { KubeConfig } from '@kubernetes/client-node'
import type { ClusterAccess } from './access/access.ts'
import { execIn } from './access/exec.ts'

const [STDIN, STDOUT, STDERR, STATUS] = [0, 1, 2, 3]
const SUCCESS = { status: 'Success' }

type Session = {
  readonly url: URL
  readonly send: (channel: number, text: string) => void
  readonly socket: Duplex
}

describe('exec', () => {
  let serve: (session: Session) => void
  let received: (channel: number, text: string) => void = () => undefined
  let exec: ClusterAccess['exec']
  const server = createServer((_, response) => response.writeHead(404).end())
  const sockets = new Set<Duplex>()

  before(async () => {
    server.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
      sockets.add(socket)
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64')
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n`,
      )
      socket.on('data', (frame: Buffer) =>
        unmasked(frame, (data) => received(data[0] ?? -1, data.toString('utf8', 1))),
      )
      const send = (channel: number, text: string) => socket.write(frameOf(channel, text))
      serve({ url: new URL(request.url ?? '', 'http://localhost'), send, socket })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const config = new KubeConfig()
    const { port } = server.address() as AddressInfo
    config.loadFromClusterAndUser(
      { name: 'c', server: `http://127.0.0.1:${port}`, skipTLSVerify: true },
      { name: 'u', token: 't' },
    )
    exec = execIn(config)
  })
  after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })

  const pod = { namespace: 'shop', name: 'app' }

  test('a command’s standard output and error are returned separately and whole, with its exit code', async () => {
    let asked: URL | undefined
    serve = ({ url, send }) => {
      asked = url
      send(STDOUT, 'out')
      send(STDERR, 'err')
      send(STDOUT, 'put €')
      const details = { causes: [{ reason: 'ExitCode', message: '7' }] }
      send(STATUS, JSON.stringify({ status: 'Failure', reason: 'NonZeroExitCode', details }))
    }
    const executed = await exec(pod, 'main', ['node', '-e', '1 + 1'])
    assert.deepEqual(executed, { code: 7, stdout: 'output €', stderr: 'err' })
    assert.equal(asked?.pathname, '/api/v1/namespaces/shop/pods/app/exec')
    assert.deepEqual(asked?.searchParams.getAll('command'), ['node', '-e', '1 + 1'])
    assert.equal(asked?.searchParams.get('container'), 'main')
  })

  test('input is passed on, and its end does not end a connection of protocol v4', async () => {
    serve = ({ send }) => {
      received = (channel, text) => {
        if (channel !== STDIN) return
        send(STDOUT, text.toUpperCase())
        send(STATUS, JSON.stringify(SUCCESS))
      }
    }
    const executed = await exec(pod, 'main', ['node'], 'a line\n')
    assert.deepEqual(executed, { code: 0, stdout: 'A LINE\n', stderr: '' })
  })

  test('a command that the runtime cannot start is code 126, not success', async () => {
    serve = ({ send }) => send(STATUS, JSON.stringify({ status: 'Failure', reason: 'InternalError' }))
    assert.equal((await exec(pod, 'main', ['nothing'])).code, 126)
  })

  test('a connection that breaks is an error that names the pod', async () => {
    serve = ({ socket }) => socket.destroy()
    await assert.rejects(exec(pod, 'main', ['node']), /a command in shop\/app was cut/)
  })

  test('a refused upgrade is an error that names the pod', async () => {
    const config = new KubeConfig()
    config.loadFromClusterAndUser(
      { name: 'c', server: 'http://127.0.0.1:1', skipTLSVerify: true },
      { name: 'u' },
    )
    await assert.rejects(execIn(config)(pod, 'main', ['node']), /a command in shop\/app: .*ECONNREFUSED/)
  })
})

function frameOf(channel: number, text: string): Buffer {
  const data = Buffer.concat([Buffer.from([channel]), Buffer.from(text)])
  const length = data.length < 126 ? [data.length] : [126, data.length >> 8, data.length & 255]
  return Buffer.concat([Buffer.from([0x82, ...length]), data])
}

/** Decodes a binary frame of a client, which is short here and arrives in one piece. */
function unmasked(frame: Buffer, deliver: (data: Buffer) => void): void {
  if (frame[0] !== 0x82) return
  const length = (frame[1] ?? 0) & 127
  const mask = frame.subarray(2, 6)
  deliver(Buffer.from(frame.subarray(6, 6 + length).map((byte, index) => byte ^ (mask[index % 4] ?? 0))))
}
