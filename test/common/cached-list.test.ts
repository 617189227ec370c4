/** Lists that the API server answers from its watch cache. */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { open } from '../../common/http-request.ts'
import { KubeError } from '../../common/kube/client.ts'
import { jsonLines } from '../../common/kube/json-lines.ts'
import { reflect } from '../../common/kube/reflector.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { listening } from '../support/listening.ts'
import { silentLog } from '../support/log.ts'

const PODS = ['a', 'b', 'c'].map((name) => ({ metadata: { name } }))
const text = (items: readonly unknown[], metadata: object = { resourceVersion: '7' }) =>
  JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata, items })

/** A collection over HTTP that answers as `answer` says, and a reflector which mirrors it. */
async function mirrored(
  t: TestContext,
  answer: (query: URLSearchParams) => { status: number; body: string } | 'cut',
) {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://x')
    asked.push(
      ['watch', 'limit', 'resourceVersion', 'resourceVersionMatch']
        .filter((name) => searchParams.has(name))
        .map((name) => `${name}=${searchParams.get(name)}`)
        .join(' '),
    )
    const reply = answer(searchParams)
    if (reply === 'cut') return void response.write(text(PODS).slice(0, 80), () => response.destroy())
    response.writeHead(reply.status).end(reply.body)
  })
  const port = await listening(server)
  const ask = async (path: string, query: Readonly<Record<string, string>> = {}) => {
    const url = new URL(`http://127.0.0.1:${port}${path}?${new URLSearchParams(query)}`)
    const response = await open(url, { agent: false })
    if (response.statusCode !== 200) throw new KubeError(response.statusCode ?? 0, 'refused')
    return response
  }
  const kube = {
    get: async (path: string, query = {}) =>
      JSON.parse(Buffer.concat(await (await ask(path, query)).toArray()).toString()),
    stream: async function* (path: string, query: object) {
      yield* jsonLines(await ask(path, { ...query }))
    },
  }
  const stopping = new AbortController()
  const clock = fakeClock()
  const lists: string[][] = []
  const quiet = () => {}
  const sink = {
    project: (object: unknown) => (object as { metadata: { name: string } }).metadata.name,
    replace: (all: readonly string[]) => void lists.push([...all]),
    upsert: quiet,
    remove: quiet,
  }
  reflect(
    { path: '/api/v1/pods', query: {}, sink, cached: true },
    { kube, clock, log: silentLog, signal: stopping.signal },
  )
  const settled = async (condition: () => boolean) => {
    const end = Date.now() + 120_000
    while (!condition()) {
      if (Date.now() > end) assert.fail(`not in time: ${asked.join(', ')}`)
      await clock.advance(10_000)
    }
  }
  const stop = () => {
    stopping.abort()
    server.close()
    server.closeAllConnections()
  }
  t.after(stop)
  return { asked, lists, settled }
}

test('a list is read from the API server’s watch cache, in one piece, and is never older than what is known already', async (t) => {
  let version = 40
  const world = await mirrored(t, (query) => {
    if (query.has('watch')) return { status: 410, body: '{"message":"too old"}' }
    version += 2
    return { status: 200, body: text(PODS, { resourceVersion: String(version) }) }
  })
  await world.settled(() => world.lists.length >= 2)
  assert.deepEqual(world.lists[0], ['a', 'b', 'c'])
  assert.deepEqual(world.asked.slice(0, 3), [
    'resourceVersion=0 resourceVersionMatch=NotOlderThan',
    'watch=true resourceVersion=42',
    'resourceVersion=42 resourceVersionMatch=NotOlderThan',
  ])
})

test('a list that the watch cache cannot serve is read from etcd, page by page', async (t) => {
  for (const status of [504, 410, 400, 200]) {
    const world = await mirrored(t, (query) =>
      query.has('limit')
        ? { status: 200, body: text(PODS) }
        : { status, body: '{"items":[],"message":"Too large resource version"}' },
    )
    await world.settled(() => world.lists.length >= 1)
    assert.deepEqual(world.lists[0], ['a', 'b', 'c'])
    assert.equal(world.asked[1], 'limit=20', String(status))
  }
})

test('a list that is cut off, or refused by a busy API server, is requested from the watch cache again, not from etcd', async (t) => {
  let requests = 0
  const world = await mirrored(t, () => {
    requests++
    if (requests === 1) return 'cut'
    if (requests === 2) return { status: 429, body: '{}' }
    return { status: 200, body: text(PODS) }
  })
  await world.settled(() => world.lists.length >= 1)
  assert.deepEqual(world.lists[0], ['a', 'b', 'c'])
  assert.deepEqual(
    world.asked.slice(0, 3).map((query) => query.includes('limit')),
    [false, false, false],
  )
})
