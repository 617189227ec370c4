/** The API server as brokers and kubelets see it: lists, watches, outages, and the traffic of all that. */
import type { Kube, Query } from '../../common/kube/client.ts'
import { KubeError } from '../../common/kube/client.ts'
import { type Feed, feed } from './feed.ts'
import { type Span, spanAt } from './span.ts'
import type { Time } from './time.ts'

type KubeObject = { readonly metadata: { readonly name: string; readonly resourceVersion: string } }

/** The objects of one collection that one kind of watcher selects, with their changes since the API server started. */
export type Collection = {
  readonly objects: Map<string, KubeObject>
  readonly changes: { readonly version: number; readonly line: unknown }[]
  readonly feeds: Set<Feed>
  /** Bytes of one object on the wire. */
  readonly bytes: number
  /** The oldest version since which the API server still knows the changes. */
  oldest: number
}

/** Requests to the API server and bytes sent by it, for each whole second since the start. */
type ApiLoad = {
  readonly lists: number[]
  readonly watches: number[]
  readonly bytes: number[]
}

export type ApiServer = {
  readonly collection: (bytes: number) => Collection
  readonly put: (collection: Collection, name: string, object: object) => void
  readonly remove: (collection: Collection, name: string) => void
  /** The client of one broker. */
  readonly client: (collections: Readonly<Record<string, Collection>>) => Kube
  readonly load: ApiLoad
}

const ANSWER_MS = 20
/** A connection attempt that nobody answers ends after this time (`kube/client/client.ts`). */
const GIVEN_UP_MS = 10_000
const KEYS = { keys: [{ kty: 'EC', crv: 'P-256', kid: 'a', x: 'x', y: 'y' }] }
const DISCOVERY = { issuer: 'https://kubernetes.default.svc' }

/** @param away when it cannot be reached; afterwards it has restarted and remembers no changes */
export function apiServer(time: Time, away: readonly Span[]): ApiServer {
  const start = time.now()
  const all: Collection[] = []
  const load: ApiLoad = { lists: [], watches: [], bytes: [] }
  let version = 1
  const add = (series: number[], amount: number) => {
    const second = Math.floor((time.now() - start) / 1000)
    series[second] = (series[second] ?? 0) + amount
  }
  for (const { from, to } of away) {
    time.after(from - start, () => {
      for (const { feeds } of all) for (const one of feeds) one.fail(new Error('connection reset'))
    })
    time.after(to - start, () => {
      for (const one of all) {
        one.oldest = version
        one.changes.length = 0
      }
    })
  }
  const reach = async () => {
    const isAway = spanAt(away, time.now()) !== undefined
    await new Promise<void>((done) => {
      time.after(isAway ? GIVEN_UP_MS : ANSWER_MS, done)
    })
    if (isAway) throw new Error(`no answer within ${GIVEN_UP_MS} ms`)
  }
  const change = (collection: Collection, type: string, object: KubeObject) => {
    const line = { type, object }
    collection.changes.push({ version, line })
    if (collection.changes.length > 100) collection.oldest = collection.changes.shift()?.version ?? 0
    for (const one of collection.feeds) {
      one.push(line)
      add(load.bytes, collection.bytes)
    }
  }
  const list = ({ objects, bytes }: Collection, { limit, continue: from = '0' }: Query) => {
    const rest = [...objects.values()].slice(Number(from))
    const items = rest.slice(0, Number(limit ?? rest.length))
    add(load.lists, 1)
    add(load.bytes, items.length * bytes)
    const next = items.length < rest.length ? { continue: String(Number(from) + items.length) } : {}
    return { metadata: { resourceVersion: String(version), ...next }, items }
  }

  const client = (collections: Readonly<Record<string, Collection>>): Kube => ({
    get: async (path, query = {}) => {
      await reach()
      const collection = collections[path]
      if (collection) return list(collection, query)
      if (path === '/openid/v1/jwks') return KEYS
      if (path === '/.well-known/openid-configuration') return DISCOVERY
      add(load.lists, 1)
      const [parent, name = ''] = splitPath(path)
      const one = collections[parent]?.objects.get(name)
      if (one) return one
      throw new KubeError(404, 'not found')
    },
    send: async () => {
      await reach()
      return {}
    },
    stream: async function* (path, query, signal) {
      await reach()
      const collection = collections[path]
      if (!collection) throw new KubeError(404, 'not found')
      const since = Number(query.resourceVersion)
      add(load.watches, 1)
      if (since < collection.oldest) throw new KubeError(410, 'too old resource version')
      const one = feed(collection.changes.filter((entry) => entry.version > since).map(({ line }) => line))
      collection.feeds.add(one)
      const cancel = time.after(Number(query.timeoutSeconds) * 1000, one.end)
      signal.addEventListener('abort', one.end)
      try {
        yield* one.lines()
      } finally {
        cancel()
        signal.removeEventListener('abort', one.end)
        collection.feeds.delete(one)
      }
    },
    close: () => {},
  })
  return {
    collection: (bytes) => {
      const made: Collection = { objects: new Map(), changes: [], feeds: new Set(), bytes, oldest: 0 }
      all.push(made)
      return made
    },
    put: (collection, name, object) => {
      version++
      const known = collection.objects.has(name)
      const { metadata } = object as KubeObject
      const stored = { ...object, metadata: { ...metadata, name, resourceVersion: String(version) } }
      collection.objects.set(name, stored)
      change(collection, known ? 'MODIFIED' : 'ADDED', stored)
    },
    remove: (collection, name) => {
      version++
      const stored = collection.objects.get(name)
      if (!stored) return
      collection.objects.delete(name)
      change(collection, 'DELETED', {
        ...stored,
        metadata: { ...stored.metadata, resourceVersion: String(version) },
      })
    },
    client,
    load,
  }
}

/** `/api/v1/namespaces/shop/pods/web` is `web` among the node's pods, `/api/v1/namespaces/shop` is `shop` among all namespaces. */
function splitPath(path: string): [string, string | undefined] {
  const [, , , , , resource, name] = path.split('/')
  return resource === 'pods' ? ['/api/v1/pods', name] : ['/api/v1/namespaces', path.split('/')[4]]
}
