/** The parts of an API server that the injector uses, over TLS: version, namespaces, pods and silent watches. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { authority } from './certificates.ts'

export type FakeApi = {
  readonly kubeconfig: string
  readonly directory: string
  /** Connections accepted since the start. */
  readonly connections: () => number
  /** How the next request is answered: normally, not at all, by the end of a connection that is used again, or with a status. */
  behave: 'answer' | 'hang' | 'give-up-kept' | number
  readonly close: () => Promise<void>
}

type Texts = Readonly<Record<string, string>>
type Objects = Readonly<Record<string, { labels?: Texts; annotations?: Texts }>>

/** @param pods the items of a list of all pods */
export async function fakeApi(namespaces: Objects, pods: readonly unknown[] = []): Promise<FakeApi> {
  const ca = await authority()
  let connections = 0
  const sockets = new Set<Duplex>()
  const used = new WeakSet<Duplex>()
  /** Whether the request gets no answer. */
  const isSilent = (socket: Duplex) => {
    if (api.behave === 'give-up-kept' && used.has(socket)) socket.destroy()
    used.add(socket)
    return api.behave === 'hang' || socket.destroyed
  }
  const collections: Readonly<Record<string, readonly unknown[]>> = {
    '/api/v1/pods': pods,
    '/api/v1/namespaces': Object.entries(namespaces).map(named),
  }
  const server = createServer(await ca.leaf(), (request, response) => {
    if (isSilent(request.socket)) return
    const send = (status: number, body: unknown) =>
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
    if (typeof api.behave === 'number') return send(api.behave, { kind: 'Status', message: 'as arranged' })
    if (request.headers.authorization !== 'Bearer test-token') return send(401, { kind: 'Status' })
    if (/^\/version\/?$/.test(request.url ?? '')) return send(200, { major: '1', minor: '36' })
    const { pathname, searchParams } = new URL(request.url ?? '/', 'https://api')
    // A watch without any event: its headers are sent at once.
    if (searchParams.get('watch') === 'true') return response.writeHead(200).flushHeaders()
    const collection = collections[pathname]
    if (collection !== undefined) return send(200, page(collection, searchParams))
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
    JSON.stringify({
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

const named = ([name, metadata]: [string, object]) => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, ...metadata },
})

function page(all: readonly unknown[], query: URLSearchParams) {
  const [from, limit] = [Number(query.get('continue') ?? 0), Number(query.get('limit') ?? all.length)]
  const more = from + limit < all.length ? { continue: String(from + limit) } : {}
  return { metadata: { resourceVersion: '1', ...more }, items: all.slice(from, from + limit) }
}
