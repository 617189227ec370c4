/** As much of an API server as the injector speaks to, over TLS: namespaces and the version. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { stringify } from 'yaml'
import { authority } from './certificates.ts'

export type FakeApi = {
  readonly kubeconfig: string
  readonly directory: string
  /** Connections accepted since the start. */
  readonly connections: () => number
  /** What comes next: answers, silence, or a status. */
  behave: 'answer' | 'hang' | number
  readonly close: () => Promise<void>
}

type Objects = Readonly<
  Record<string, { labels?: Record<string, string>; annotations?: Record<string, string> }>
>

export async function fakeApi(namespaces: Objects): Promise<FakeApi> {
  const ca = await authority()
  let connections = 0
  const sockets = new Set<Duplex>()
  const server = createServer(await ca.leaf(), (request, response) => {
    if (api.behave === 'hang') return
    const send = (status: number, body: unknown) =>
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
    if (typeof api.behave === 'number') return send(api.behave, { kind: 'Status', message: 'as told' })
    if (request.headers.authorization !== 'Bearer test-token') return send(401, { kind: 'Status' })
    if (/^\/version\/?$/.test(request.url ?? '')) return send(200, { major: '1', minor: '36' })
    const name = /^\/api\/v1\/namespaces\/([^/?]+)$/.exec(request.url ?? '')?.[1] ?? ''
    const metadata = namespaces[name]
    if (metadata === undefined)
      return send(404, { kind: 'Status', message: `namespaces "${name}" not found` })
    return send(200, { apiVersion: 'v1', kind: 'Namespace', metadata: { name, ...metadata } })
  })
  server.on('connection', (socket) => {
    connections++
    sockets.add(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-injector-'))
  const kubeconfig = join(directory, 'kubeconfig')
  const { port } = server.address() as AddressInfo
  const cluster = {
    server: `https://127.0.0.1:${port}`,
    'certificate-authority-data': Buffer.from(ca.pem).toString('base64'),
  }
  await writeFile(
    kubeconfig,
    stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      clusters: [{ name: 'test', cluster }],
      users: [{ name: 'test', user: { token: 'test-token' } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    }),
  )
  const api: FakeApi = {
    kubeconfig,
    directory,
    behave: 'answer',
    connections: () => connections,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
      await rm(directory, { recursive: true, force: true })
    },
  }
  return api
}
