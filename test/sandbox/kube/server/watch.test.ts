import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../../support/until.ts'
import { type KubeObject, sinceKubernetes, type WatchEvent } from '../client/client.ts'
import type { WatchOptions } from '../client/client-options.ts'
import { namespace, pod, standInOnly, testServer } from '../client/test-server.ts'
import { ApiError } from '../objects/status.ts'

const server = testServer({ controllers: false, bookmarkMs: 50 })
const admin = () => server().admin

type Seen = {
  readonly type: string
  readonly name: string
  readonly version: number
  readonly object: KubeObject
}

function record(resource: string, options: WatchOptions) {
  const events: Seen[] = []
  const watch = admin().watch(resource, options, ({ type, object }: WatchEvent) => {
    const { name = '', resourceVersion } = object.metadata
    events.push({ type, name, version: Number(resourceVersion), object })
  })
  return { events, watch, types: () => events.map(({ type, name }) => `${type} ${name}`) }
}

async function freshNamespace(name: string): Promise<string> {
  await admin().create(namespace(name))
  return name
}

const version = async (ns: string) => (await admin().list('pods', { namespace: ns })).metadata.resourceVersion

test('a watch from a version reports all changes since, in order and with rising versions', async () => {
  const ns = await freshNamespace('w-since')
  const start = await version(ns)
  await admin().create(pod('a', ns))
  await admin().patch('pods', 'a', ns, { metadata: { labels: { x: '1' } } })
  const { events, types, watch } = record('pods', { namespace: ns, resourceVersion: start })
  await eventually('two events', () => events.length >= 2)
  await admin().delete('pods', 'a', ns)
  await eventually('four events', () => events.length >= 4)
  watch.close()
  // A pod is marked before it is deleted, even if it is deleted at once.
  assert.deepEqual(types(), ['ADDED a', 'MODIFIED a', 'MODIFIED a', 'DELETED a'])
  assert.equal(events[2]?.object.metadata.deletionGracePeriodSeconds, 0)
  const versions = events.map((event) => event.version)
  assert.deepEqual(
    versions,
    [...versions].sort((a, b) => a - b),
  )
  assert.equal(new Set(versions).size, 4)
})

test('a watch without a version, or from 0, begins with the existing objects', async () => {
  const ns = await freshNamespace('w-initial')
  await admin().create(pod('a', ns))
  for (const resourceVersion of ['', '0']) {
    const { types, watch } = record('pods', { namespace: ns, resourceVersion })
    await eventually('the first event', () => types().length >= 1)
    watch.close()
    assert.deepEqual(types(), ['ADDED a'])
  }
})

test('in a watch with a selector an object that starts to match is ADDED and one that stops is DELETED', async () => {
  const ns = await freshNamespace('w-selector')
  const start = await version(ns)
  const { events, types, watch } = record('pods', {
    namespace: ns,
    labelSelector: 'tier=web',
    resourceVersion: start,
  })
  await watch.started
  await admin().create(pod('a', ns))
  await admin().patch('pods', 'a', ns, { metadata: { labels: { tier: 'web' } } })
  await admin().patch('pods', 'a', ns, { metadata: { annotations: { x: 'y' } } })
  const last = await admin().patch('pods', 'a', ns, { metadata: { labels: { tier: 'db' } } })
  await eventually('three events', () => events.length >= 3)
  watch.close()
  assert.deepEqual(types(), ['ADDED a', 'MODIFIED a', 'DELETED a'])
  assert.equal(events[2]?.object.metadata.labels?.tier, 'web', 'the state in which it last matched')
  assert.equal(String(events[2]?.version), last.metadata.resourceVersion, 'with the version of the change')
})

test('a watch of one node sees only its pods', async () => {
  const ns = await freshNamespace('w-node')
  const { types, watch } = record('pods', { fieldSelector: 'spec.nodeName=w-node-1' })
  await watch.started
  await admin().create(pod('mine', ns))
  await admin().create(pod('other', ns))
  await admin().bind(ns, 'other', 'w-node-2')
  await admin().bind(ns, 'mine', 'w-node-1')
  await eventually('an event', () => types().length > 0)
  watch.close()
  assert.deepEqual(types(), ['ADDED mine'])
})

test(
  'WatchList sends the existing objects and then the annotated bookmark',
  sinceKubernetes(34, 'WatchList'),
  async () => {
    const ns = await freshNamespace('w-list')
    await admin().create(pod('a', ns))
    const { events, watch } = record('pods', {
      namespace: ns,
      sendInitialEvents: true,
      resourceVersionMatch: 'NotOlderThan',
      allowWatchBookmarks: true,
    })
    await eventually('the bookmark', () => events.some(({ type }) => type === 'BOOKMARK'))
    watch.close()
    assert.deepEqual(
      events.slice(0, 2).map(({ type }) => type),
      ['ADDED', 'BOOKMARK'],
    )
    assert.equal(events[1]?.object.metadata.annotations?.['k8s.io/initial-events-end'], 'true')
    assert.equal(events[1]?.object.kind, 'Pod')
  },
)

test('sendInitialEvents needs resourceVersionMatch NotOlderThan', async () => {
  const answer = await admin().request('GET', '/api/v1/pods?watch=true&sendInitialEvents=true')
  assert.equal(answer.status, 422)
  assert.match(answer.body, /sendInitialEvents requires setting resourceVersionMatch to NotOlderThan/)
})

// With a real API server this takes a minute; the next test is the one for it.
standInOnly(
  'only watches that allow bookmarks get them, which advance the version of a quiet watch',
  async () => {
    const ns = await freshNamespace('w-quiet')
    const start = await version(ns)
    const silent = record('pods', { namespace: ns, resourceVersion: start })
    const marked = record('pods', { namespace: ns, resourceVersion: start, allowWatchBookmarks: true })
    await Promise.all([silent.watch.started, marked.watch.started])
    await admin().create(pod('elsewhere'))
    await eventually('a bookmark that is newer', () =>
      marked.events.some((event) => event.version > Number(start)),
    )
    silent.watch.close()
    marked.watch.close()
    assert.deepEqual(silent.events, [])
  },
)

test('timeoutSeconds ends the watch cleanly, after a last bookmark', async () => {
  const ns = await freshNamespace('w-last')
  const start = await version(ns)
  const { events, watch } = record('pods', {
    namespace: ns,
    resourceVersion: start,
    timeoutSeconds: 4,
    allowWatchBookmarks: true,
  })
  await watch.started
  await admin().create(pod('elsewhere-again'))
  await watch.ended
  assert.ok(events.some(({ type, version }) => type === 'BOOKMARK' && version > Number(start)))
})

test('a watch from a compacted version gets 410 in the stream, and a fresh list works', async () => {
  const old = await version('default')
  await admin().create(pod('before-compaction'))
  await server().compact()
  await assert.rejects(record('pods', { resourceVersion: old }).watch.ended, (error) => {
    assert.ok(error instanceof ApiError && error.code === 410 && error.reason === 'Expired')
    assert.match(error.message, /^too old resource version: \d+ \(\d+\)$/)
    return true
  })
  const { types, watch } = record('pods', { resourceVersion: await version('default') })
  await admin().create(pod('after-compaction'))
  await eventually('the event', () => types().includes('ADDED after-compaction'))
  watch.close()
})

test('an exact list of a compacted version is HTTP 410', async () => {
  const old = await version('default')
  await admin().create(pod('after-the-exact-one'))
  await server().compact()
  const query = `resourceVersion=${old}&resourceVersionMatch=Exact`
  assert.equal((await admin().request('GET', `/api/v1/pods?${query}`)).status, 410)
})

test('a version from the future is a Timeout with the cause ResourceVersionTooLarge', async () => {
  const answer = await admin().request(
    'GET',
    '/api/v1/pods?resourceVersion=99999999&resourceVersionMatch=NotOlderThan',
  )
  assert.equal(answer.status, 504)
  assert.match(answer.body, /ResourceVersionTooLarge/)
})

test('all pages of a list show the same moment, whatever is written in between', async () => {
  const ns = await freshNamespace('w-pages')
  for (const name of ['a', 'b', 'c']) await admin().create(pod(name, ns))
  const first = await admin().list('pods', { namespace: ns, limit: 2 })
  assert.equal(first.metadata.remainingItemCount, 1)
  await admin().delete('pods', 'c', ns)
  const next = { namespace: ns, limit: 2, continue: first.metadata.continue ?? '' }
  const second = await admin().list('pods', next)
  assert.deepEqual(
    [...first.items, ...second.items].map(({ metadata }) => metadata.name),
    ['a', 'b', 'c'],
  )
  assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion)
  assert.equal(second.metadata.continue, undefined)
  await server().compact()
  await assert.rejects(admin().list('pods', next), (error) => error instanceof ApiError && error.code === 410)
})

standInOnly(
  'cutting watches ends them cleanly, with a broken connection or with 410, and returns their number',
  async () => {
    const watches = () => server().watches()
    await eventually('the end of other tests’ watches', async () => (await watches()) === 0)
    const start = () => record('pods', {}).watch
    const clean = start()
    await clean.started
    assert.equal(await server().cutWatches(), 1)
    await clean.ended
    const reset = start()
    await reset.started
    await server().cutWatches('reset')
    await assert.rejects(reset.ended, (error) => !(error instanceof ApiError))
    const gone = start()
    await gone.started
    await server().cutWatches('expired')
    await assert.rejects(gone.ended, (error) => error instanceof ApiError && error.code === 410)
    await eventually('no watch is left', async () => (await watches()) === 0)
  },
)

standInOnly(
  'follow stays correct through cuts, compaction and a restart, and reports deletions that it missed',
  async () => {
    const ns = await freshNamespace('w-follow')
    const present = new Set<string>()
    const follow = admin().follow(
      'pods',
      { namespace: ns },
      {
        onChange: ({ metadata }) => present.add(metadata.name ?? ''),
        onDelete: ({ metadata }) => present.delete(metadata.name ?? ''),
      },
    )
    await follow.synced
    await admin().create(pod('a', ns))
    await eventually('a', () => present.has('a'))
    await server().compact()
    await server().cutWatches('expired')
    await admin().delete('pods', 'a', ns)
    await admin().create(pod('b', ns))
    await eventually('b and not a', () => present.has('b') && !present.has('a'))
    await server().cutWatches('reset')
    await admin().create(pod('c', ns))
    await eventually('c', () => present.has('c'))
    follow.close()
  },
)

standInOnly('the watch of a client that disconnects is closed', async () => {
  const watches = () => server().watches()
  await eventually('the end of other tests’ watches', async () => (await watches()) === 0)
  const { watch } = record('pods', {})
  await watch.started
  await eventually('the watch', async () => (await watches()) === 1)
  watch.close()
  await eventually('its end', async () => (await watches()) === 0)
})
