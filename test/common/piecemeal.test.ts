/** The client that reads lists and watches object by object, against an API server. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { systemClock } from '../../common/clock.ts'
import { type Kube, KubeError, kubeClient } from '../../common/kube/client.ts'
import { oversize } from '../../common/kube/json-lines.ts'
import { kubeconfigAccess } from '../../common/kube/kubeconfig.ts'
import { authority } from '../injector/certificates.ts'
import { ApiServer } from '../sandbox/kube/client/client.ts'
import { pod } from '../sandbox/kube/client/test-server.ts'
import { listening } from '../support/listening.ts'

let directory: string
let api: ApiServer
let kube: Kube
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'p2i-'))
  api = await ApiServer.start({ directory, controllers: false, bookmarkMs: 50 })
  kube = kubeClient(await kubeconfigAccess(await api.kubeconfig()), systemClock, { piecemeal: true })
  for (const name of ['a', 'b', 'c'])
    await api.admin.create(pod(name, 'default', { spec: { nodeName: name } }))
})
after(async () => {
  kube?.close()
  await api?.stop()
  await rm(directory, { recursive: true, force: true })
})

type Seen = {
  readonly kind?: string
  readonly metadata: { readonly name?: string; readonly resourceVersion: string; readonly continue?: string }
  readonly spec?: { readonly nodeName: string }
}

for (const metadataOnly of [false, true])
  test(`a list passes on ${metadataOnly ? 'the metadata of its objects' : 'its complete objects'} page by page`, async () => {
    const seen: Seen[] = []
    const page = async (query: Record<string, string>) => {
      const reading = { metadataOnly, each: (object: unknown) => void seen.push(object as Seen) }
      const list = (await kube.get('/api/v1/pods', { limit: '2', ...query }, reading)) as Seen & { items: [] }
      assert.deepEqual(list.items, [])
      return list.metadata
    }
    const first = await page({})
    assert.equal(seen.length, 2)
    const last = await page({ continue: first.continue ?? '' })
    assert.deepEqual(
      seen.map(({ metadata }) => metadata.name),
      ['a', 'b', 'c'],
    )
    assert.deepEqual(
      seen.map(({ spec }) => spec?.nodeName),
      metadataOnly ? [undefined, undefined, undefined] : ['a', 'b', 'c'],
    )
    assert.equal(last.continue, undefined)
    assert.equal(last.resourceVersion, first.resourceVersion)
  })

test('a watch of metadata only gives changes and bookmarks, and the error 410 for a resource version that is too old', async () => {
  const stopping = new AbortController()
  const query = { watch: 'true', resourceVersion: '0', allowWatchBookmarks: 'true' }
  const types = new Set<string>()
  for await (const event of kube.stream('/api/v1/pods', query, stopping.signal, { metadataOnly: true })) {
    const { type, object } = event as { type: string; object: Seen }
    types.add(type)
    assert.deepEqual([object.kind, object.spec], ['PartialObjectMetadata', undefined])
    if (types.has('ADDED') && types.has('BOOKMARK')) break
  }
  stopping.abort()
  const { metadata } = (await kube.get('/api/v1/pods')) as Seen
  await api.admin.create(pod('later'))
  await api.compact()
  const old = { watch: 'true', resourceVersion: metadata.resourceVersion }
  const signal = AbortSignal.timeout(60_000)
  for await (const event of kube.stream('/api/v1/pods', old, signal, { metadataOnly: true })) {
    const { type, object } = event as { type: string; object: { code: number } }
    assert.deepEqual([type, object.code], ['ERROR', 410])
  }
})

test('a refused list is a KubeError also when it is read object by object', async () => {
  const each = () => assert.fail('there is no object')
  await assert.rejects(
    kube.get('/api/v1/pods', { limit: '1', continue: 'x' }, { each }),
    (error) => error instanceof KubeError && error.status === 400,
  )
})

/** Reads a list from a server over TLS which answers any request with `body`. */
async function answering(body: string, each: (object: unknown) => void): Promise<void> {
  const ca = await authority()
  const server = createServer(await ca.leaf(), (_request, response) => response.end(body))
  const port = await listening(server)
  const access = { server: new URL(`https://127.0.0.1:${port}`), read: async () => ({ ca: ca.pem }) }
  const client = kubeClient(access, systemClock, { piecemeal: true, timeoutMs: 60_000 })
  try {
    await client.get('/', { limit: '5000' }, { each })
  } finally {
    client.close()
    server.close()
  }
}

test('a large page lets other work run in between', async () => {
  const filler = 'x'.repeat(2000)
  const items = Array.from({ length: 5000 }, (_, index) => ({ index, filler }))
  let [most, before, count] = [0, 0, 0]
  let isOver = false
  const turn = () => {
    most = Math.max(most, count - before)
    before = count
    if (!isOver) setImmediate(turn)
  }
  turn()
  const body = `{"metadata":{"resourceVersion":"7"},"items":${JSON.stringify(items)}}`
  await answering(body, (object) => {
    assert.equal((object as { index: number }).index, count++)
  }).finally(() => {
    isOver = true
  })
  assert.equal(count, 5000)
  // About 32 objects fit into 64 KiB. Without a limit, a fast server would bring up to a thousand in one turn.
  assert.ok(most <= 150, `${most} objects in one turn of the event loop`)
})

test('an object that is too large is reported as such, and the others are passed on', async () => {
  const big = `{"name":"${'<'.repeat(17 * 1024 * 1024)}"}`
  const seen: unknown[] = []
  await answering(`{"metadata":{},"items":[{"a":1},${big},{"c":3}]}`, (object) => void seen.push(object))
  assert.deepEqual(seen, [{ a: 1 }, oversize, { c: 3 }])
})
