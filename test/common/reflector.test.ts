/** Lists and watches of large objects, over real HTTP where the number of bytes matters. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { after, test } from 'node:test'
import { systemClock } from '../../common/clock.ts'
import { httpRequest } from '../../common/http-request.ts'
import { jsonLines, MAX_OBJECT, oversize } from '../../common/kube/json-lines.ts'
import { reflect, type Sink } from '../../common/kube/reflector.ts'
import { listening } from '../support/listening.ts'
import { captureLog, silentLog } from '../support/log.ts'
import { eventually } from '../support/until.ts'

type Named = { readonly name: string; readonly size: number }

const stops: (() => void)[] = []
after(() => {
  for (const stop of stops) stop()
})

/** JSON as Go's encoder writes it. */
const go = (value: unknown) =>
  JSON.stringify(value).replace(/[<>&]/g, (char) => `\\u00${char.charCodeAt(0).toString(16)}`)
const object = (name: string, text = '', resourceVersion = '1') => ({
  metadata: { name, resourceVersion },
  text,
})

/** A store of names, and the sink that fills it. */
function store(keep?: Sink<Named>['keep']) {
  const known = new Map<string, Named>()
  const lists: number[] = []
  const upsert = (one: Named) => void known.set(one.name, one)
  const sink: Sink<Named> = {
    project: (one) => {
      const { metadata, text } = one as ReturnType<typeof object>
      return { name: metadata.name, size: text.length }
    },
    replace: (all) => {
      lists.push(all.length)
      known.clear()
      for (const one of all) upsert(one)
    },
    upsert,
    remove: ({ name }) => void known.delete(name),
    ...(keep ? { keep } : {}),
  }
  return { sink, known, lists }
}

/** A collection served over HTTP, read with a bound of `maxBytes` per answer and per line. */
async function collection(objects: readonly object[], maxBytes: number) {
  const events: string[] = []
  const limits: number[] = []
  const state = { objects, version: '1' }
  const server = createServer((request, response) => {
    const query = new URL(request.url ?? '', 'http://x').searchParams
    const [from, limit] = [Number(query.get('continue') ?? 0), Number(query.get('limit'))]
    limits.push(limit)
    const next = from + limit
    response.end(
      go({
        kind: 'PodList',
        apiVersion: 'v1',
        metadata: {
          resourceVersion: state.version,
          ...(next < state.objects.length ? { continue: String(next) } : {}),
        },
        items: state.objects.slice(from, next),
      }),
    )
  })
  const port = await listening(server)
  const stopping = new AbortController()
  const watchedFrom: string[] = []
  const kube = {
    get: async (path: string, query: Readonly<Record<string, string>> = {}) => {
      const url = new URL(`http://127.0.0.1:${port}${path}?${new URLSearchParams(query)}`)
      return JSON.parse((await httpRequest(url, { timeoutMs: 5000, maxBytes, agent: false })).body)
    },
    stream: async function* (_path: string, query: Readonly<Record<string, string>>, signal: AbortSignal) {
      watchedFrom.push(query.resourceVersion ?? '')
      yield* jsonLines(Readable.from(events.splice(0).map((line) => Buffer.from(`${line}\n`))), maxBytes)
      if (!signal.aborted) await once(signal, 'abort')
    },
  }
  const { log, lines } = captureLog()
  const mirror = (sink: Sink<Named>, page?: number) =>
    reflect(
      { path: '/api/v1/pods', query: {}, sink, ...(page ? { page } : {}) },
      { kube, clock: systemClock, log, signal: stopping.signal },
    )
  stops.push(() => {
    stopping.abort()
    server.close()
    server.closeAllConnections()
  })
  return { state, events, limits, lines, watchedFrom, mirror }
}

const names = (count: number) => Array.from({ length: count }, (_, index) => `p${index}`)

test('the largest object that etcd takes fits into a line of a watch, however it is escaped', async () => {
  const line = go({ type: 'ADDED', object: object('evil', '<'.repeat(1.5 * 1024 * 1024)) })
  assert.ok(line.length > 9 * 1024 * 1024 && line.length < MAX_OBJECT)
  const values: unknown[] = []
  for await (const value of jsonLines(Readable.from([Buffer.from(`${line}\n{"b":1}\n`)]))) values.push(value)
  assert.equal(values.length, 2)
  assert.equal((values[0] as { object: { text: string } }).object.text.length, 1.5 * 1024 * 1024)
})

test('a line that is too long is left out and the next one is read, whatever the size of the chunks', async () => {
  const text = Buffer.from(`{"a":1}\n{"b":"${'x'.repeat(100)}"}\n{"c":3}\n`)
  for (const size of [1, 7, 64, 1000]) {
    const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, index) =>
      text.subarray(index * size, (index + 1) * size),
    )
    const values: unknown[] = []
    for await (const value of jsonLines(Readable.from(chunks), 50)) values.push(value)
    assert.deepEqual(values, [{ a: 1 }, oversize, { c: 3 }])
  }
})

test('a list continues after an object that is too large, which is counted and logged once', async () => {
  for (const at of [0, 13, 29]) {
    const objects = names(30).map((name, index) => object(name, index === at ? '<'.repeat(5000) : ''))
    const pods = await collection(objects, 20_000)
    const { sink, known } = store()
    const reflection = pods.mirror(sink)
    await eventually('synced', reflection.synced)
    assert.deepEqual(
      [...known.keys()],
      names(30).filter((_, index) => index !== at),
    )
    assert.equal(reflection.leftOut(), 1)
    assert.equal(pods.lines.filter(({ level, msg }) => level === 'warn' && /too large/.test(msg)).length, 1)
    await eventually('watched', () => pods.watchedFrom.length > 0)
    assert.deepEqual(pods.watchedFrom, ['1'])
  }
})

test('pages become large again after a large object', async () => {
  const objects = names(60).map((name, index) => object(name, index === 0 ? '<'.repeat(3000) : ''))
  const pods = await collection(objects, 20_000)
  const { sink, known } = store()
  await eventually('synced', pods.mirror(sink, 40).synced)
  assert.equal(known.size, 60)
  assert.deepEqual(pods.limits.slice(0, 2), [40, 20])
  assert.ok(pods.limits.includes(40) && pods.limits.length < 8, String(pods.limits))
})

test('an event that is too large causes a new list, and nothing old of its object is kept', async () => {
  const pods = await collection([object('a'), object('b')], 2000)
  const { sink, known, lists } = store()
  pods.events.push(
    go({ type: 'ADDED', object: object('c', '', '2') }),
    go({ type: 'MODIFIED', object: object('b', '<'.repeat(1000), '3') }),
    go({ type: 'ADDED', object: object('d', '', '4') }),
  )
  const reflection = pods.mirror(sink)
  await eventually('synced', reflection.synced)
  pods.state.objects = [object('a'), object('b', '<'.repeat(1000)), object('c'), object('d')]
  pods.state.version = '4'
  await eventually('listed again', () => lists.length === 2)
  assert.deepEqual([...known.keys()], ['a', 'c', 'd'])
  await eventually('watched again', () => pods.watchedFrom.length === 2)
  assert.deepEqual(pods.watchedFrom, ['1', '4'])
  assert.equal(reflection.leftOut(), 2)
})

test('objects that need not be kept are dropped page by page', async () => {
  const objects = names(50).map((name, index) => object(name, 'x'.repeat(index % 10)))
  const pods = await collection(objects, 100_000)
  const counts: number[] = []
  const { sink, known, lists } = store(({ size }, kept) => {
    counts.push(kept)
    return size === 9
  })
  await eventually('synced', pods.mirror(sink, 25).synced)
  assert.deepEqual([lists, [...known.keys()]], [[5], ['p9', 'p19', 'p29', 'p39', 'p49']])
  assert.equal(counts.at(-1), 4)
  assert.deepEqual(pods.limits, [25, 25])
})

test('a page that did not arrive completely is requested again in a smaller size, and the list continues', async () => {
  const objects = names(60).map((name) => object(name))
  const asked: string[] = []
  let failures = 2
  const kube = {
    get: async (_path: string, query: Readonly<Record<string, string>> = {}) => {
      const [from, limit] = [Number(query.continue ?? 0), Number(query.limit)]
      asked.push(`${from}+${limit}`)
      if (from === 20 && failures-- > 0) throw new Error('no answer within 10000 ms')
      const next = from + limit < 60 ? { continue: String(from + limit) } : {}
      return { metadata: { resourceVersion: '1', ...next }, items: objects.slice(from, from + limit) }
    },
    stream: async function* () {},
  }
  const clock = { now: () => 0, after: (_: number, action: () => void) => systemClock.after(0, action) }
  const stopping = new AbortController()
  stops.push(() => stopping.abort())
  const { sink, known } = store()
  const reflection = reflect(
    { path: '/x', query: {}, sink },
    { kube, clock, log: silentLog, signal: stopping.signal },
  )
  await eventually('synced', reflection.synced)
  stopping.abort()
  assert.equal(known.size, 60)
  assert.deepEqual(asked, ['0+20', '20+20', '20+10', '20+5', '25+10', '35+20', '55+20'])
})
