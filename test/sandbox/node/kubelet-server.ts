/**
 * What the API server requests from a kubelet for `kubectl exec`, `logs` and `port-forward`: k8s.io/kubelet/pkg/cri/streaming, over a
 * unix socket instead of port 10250, and only by WebSocket (no SPDY).
 */
import type { ChildProcess } from 'node:child_process'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type WebSocket, WebSocketServer } from 'ws'
import { messageOf } from '../../../common/errors.ts'
import type { Machine } from './machine.ts'
import type { Pods } from './pods.ts'
import { spawnIn } from './process.ts'
import { tool } from './tools.ts'

/** In the order of the kubelet's preference; with `v5` a client can end its stdin. */
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io']
const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, status: 3 } as const
/** In `v5`: the next byte is the channel that has ended. */
const CLOSE = 255

type Parts = { readonly machine: Machine; readonly pods: Pods }
/** `/exec/NAMESPACE/POD/CONTAINER`, `/portForward/NAMESPACE/POD`, `/containerLogs/NAMESPACE/POD/CONTAINER`. */
type Asked = {
  readonly what: string
  readonly pod: string
  readonly container: string | undefined
  readonly query: URLSearchParams
}

/** @param path of the unix socket */
export function serveKubelet(path: string, parts: Parts): Promise<Server> {
  const sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => PROTOCOLS.find((one) => offered.has(one)) ?? false,
  })
  const server = createServer((request, response) => plain(parts, request, response))
  server.on('upgrade', (request, socket, head) => {
    const asked = read(request)
    const serve = { exec, portForward }[asked.what]
    if (serve === undefined) {
      socket.destroy()
      return
    }
    sockets.handleUpgrade(request, socket, head, (connection) => {
      // An error is reported on its own channel, or ends the connection.
      serve(parts, connection, asked).catch((error) => connection.close(1011, messageOf(error).slice(0, 100)))
    })
  })
  server.unref()
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => resolve(server))
  })
}

function read({ url = '' }: IncomingMessage): Asked {
  const { pathname, searchParams: query } = new URL(url, 'http://kubelet')
  const [what = '', namespace, name, container] = pathname.split('/').slice(1).map(decodeURIComponent)
  return { what, pod: `${namespace}/${name}`, container, query }
}

function plain({ pods }: Parts, request: IncomingMessage, response: ServerResponse): void {
  const { what, pod, container, query } = read(request)
  if (what !== 'containerLogs') {
    response.writeHead(404).end()
    return
  }
  try {
    const lines = pods.logLines(pod, container)
    const last = lines.at(-1)?.run ?? 0
    const wanted = query.get('previous') === 'true' ? last - 1 : last
    const texts = lines.filter(({ run }) => run === wanted).map(({ text }) => `${text}\n`)
    const tail = Number(query.get('tailLines') ?? texts.length)
    response.setHeader('content-type', 'text/plain')
    response.end(texts.slice(Math.max(0, texts.length - tail)).join(''))
  } catch (error) {
    response.writeHead(404).end(messageOf(error))
  }
}

/** Runs a command to its end; the last message is a Status on its own channel (k8s.io/apimachinery, remotecommand). */
async function exec({ pods }: Parts, connection: WebSocket, { pod, container, query }: Asked): Promise<void> {
  const send = (channel: number, text: string) => {
    if (text !== '') connection.send(Buffer.concat([Buffer.from([channel]), Buffer.from(text)]))
  }
  const status = (details: object) => {
    send(CHANNEL.status, JSON.stringify({ metadata: {}, ...details }))
    connection.close(1000)
  }
  try {
    const input = query.get('stdin') === 'true' ? await stdinOf(connection) : ''
    const options = { input, ...(container === undefined ? {} : { container }) }
    const { code, stdout, stderr } = await pods.exec(pod, query.getAll('command'), options)
    send(CHANNEL.stdout, stdout)
    send(CHANNEL.stderr, stderr)
    if (code === 0) return status({ status: 'Success' })
    const causes = [{ reason: 'ExitCode', message: String(code) }]
    status({
      status: 'Failure',
      reason: 'NonZeroExitCode',
      message: `command terminated with non-zero exit code: exit status ${code}`,
      details: { causes },
    })
  } catch (error) {
    status({ status: 'Failure', reason: 'InternalError', message: messageOf(error), code: 500 })
  }
}

function stdinOf(connection: WebSocket): Promise<string> {
  const chunks: Buffer[] = []
  return new Promise((resolve) => {
    const end = () => resolve(Buffer.concat(chunks).toString())
    connection.on('message', (data: Buffer) => {
      if (data[0] === CHANNEL.stdin) chunks.push(data.subarray(1))
      if (data[0] === CLOSE && data[1] === CHANNEL.stdin) end()
    })
    connection.on('close', end)
  })
}

/**
 * Two channels for each port, data and errors, each of which begins with the port (k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go).
 * The connection is made in the pod's network namespace, to its loopback.
 */
async function portForward(
  { machine, pods }: Parts,
  connection: WebSocket,
  { pod, query }: Asked,
): Promise<void> {
  const network = pods.network(pod)
  const dialled: ChildProcess[] = query.getAll('ports').map((port, index) => {
    const [data, errors] = [2 * index, 2 * index + 1]
    const head = (channel: number) => Buffer.from([channel, Number(port) & 255, Number(port) >> 8])
    connection.send(head(data))
    connection.send(head(errors))
    const child = spawnIn(machine, network, [tool('socat'), '-', `TCP:127.0.0.1:${port}`], { stdio: 'pipe' })
    const pass = (channel: number) => (chunk: Buffer) =>
      connection.send(Buffer.concat([Buffer.from([channel]), chunk]))
    child.stdout?.on('data', pass(data))
    child.stderr?.on('data', pass(errors))
    child.stdin?.on('error', () => {})
    // If it cannot connect, the kubelet ends the stream; otherwise it leaves that to the client.
    child.on('close', () => connection.close(1000))
    return child
  })
  connection.on('message', (message: Buffer) => {
    const channel = message[0] ?? 1
    if (channel % 2 === 0) dialled[channel / 2]?.stdin?.write(message.subarray(1))
  })
  connection.on('close', () => {
    for (const child of dialled) child.kill('SIGKILL')
  })
}
