/**
 * The part of a large cluster's API server that the injector uses, in a process of its own: lists in pages, watches with
 * selectors, whole objects or metadata only. Its one argument has the settings as JSON; it sends its counts to its parent.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type Change, life, namespaceOf, type Pod, placeOf } from './life.ts'
import { podTexts } from './pods.ts'
import type { ClusterSettings, ClusterState } from './process.ts'
import { fits, type Look, selectionOf } from './selection.ts'

const settings: ClusterSettings = JSON.parse(process.argv[2] ?? '{}')
const { injected, others, updates, optedIn } = settings
const all = life(injected, others, settings.areWaiting ? 'gate' : 'running')
const texts = { injected: podTexts(true), plain: podTexts(false) }
const state: ClusterState = { bytes: 0, lists: 0, listing: 0, watches: 0, changes: 0, requests: 0 }
const TICK_MS = 20
const HISTORY = 200_000
const history: Change[] = []
/** Lists whose next page has not been requested yet, by what they select: a client that gives one up begins it again. */
const listing = new Set<string>()
const watches = new Set<(change: Change) => void>()

const textOf = (pod: Pod, { metadataOnly }: Look, version: number) =>
  texts[pod.injected ? 'injected' : 'plain'][metadataOnly ? 'metadata' : 'whole'](
    pod.stage,
    placeOf(pod),
    version,
  )

function write(response: ServerResponse, text: string): void {
  state.bytes += text.length
  response.write(text)
}

/** Sends one page; the next one begins at the index that the continue token contains. */
function list(look: Look, query: URLSearchParams, response: ServerResponse): void {
  const limit = Number(query.get('limit') || all.size)
  let index = Number(query.get('continue') ?? 0)
  const asked = JSON.stringify([look, [...look.phases]])
  if (index === 0) {
    state.lists++
    listing.add(asked)
  }
  const found: string[] = []
  for (; index < all.size && found.length < limit; index++) {
    const pod = all.at(index)
    if (fits(pod, pod.stage, look)) found.push(textOf(pod, look, all.version()))
  }
  const more = index < all.size ? { continue: String(index) } : {}
  if (index >= all.size) listing.delete(asked)
  state.listing = listing.size
  const metadata = JSON.stringify({ resourceVersion: String(all.version()), ...more })
  const kind = look.metadataOnly
    ? '"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1"'
    : '"kind":"PodList","apiVersion":"v1"'
  response.writeHead(200, { 'content-type': 'application/json' })
  write(response, `{${kind},"metadata":${metadata},"items":[${found.join(',')}]}\n`)
  response.end()
}

function watch(look: Look, query: URLSearchParams, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
  const tell = ({ version, before, after, pod }: Change) => {
    const was = before !== undefined && fits(pod, before, look)
    const is = after !== undefined && fits(pod, after, look)
    if (!was && !is) return
    const type = is ? (was ? 'MODIFIED' : 'ADDED') : 'DELETED'
    const stage = (is ? after : before) ?? 'running'
    write(response, `{"type":"${type}","object":${textOf({ ...pod, stage }, look, version)}}\n`)
  }
  const from = Number(query.get('resourceVersion') ?? 0)
  for (const change of history) if (change.version > from) tell(change)
  watches.add(tell)
  state.watches++
  response.on('close', () => {
    if (watches.delete(tell)) state.watches--
  })
}

function namespaces(query: URLSearchParams, response: ServerResponse) {
  // Namespaces never change.
  if (query.get('watch') === 'true') return response.writeHead(200).flushHeaders()
  const names = Array.from({ length: optedIn }, (_, index) => namespaceOf(index * 500))
  const items = names.map((name) => ({ metadata: { name, labels: { 'pod2iam.dev/injection': 'enabled' } } }))
  const [from, limit] = [Number(query.get('continue') ?? 0), Number(query.get('limit') ?? items.length)]
  const more = from + limit < items.length ? { continue: String(from + limit) } : {}
  send(response, { metadata: { resourceVersion: '1', ...more }, items: items.slice(from, from + limit) })
}

function send(response: ServerResponse, body: unknown, status = 200) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function answer(request: IncomingMessage, response: ServerResponse) {
  state.requests++
  const { pathname, searchParams: query } = new URL(request.url ?? '/', 'https://api')
  if (request.method !== 'GET') return request.resume().on('end', () => send(response, {}, 201))
  const pods = /^\/api\/v1\/(?:namespaces\/([^/]+)\/)?pods$/.exec(pathname)
  if (pods !== null) {
    const look = selectionOf(pods[1], query, request.headers.accept ?? '')
    return (query.get('watch') === 'true' ? watch : list)(look, query, response)
  }
  if (pathname === '/api/v1/namespaces') return namespaces(query, response)
  const name = /^\/api\/v1\/namespaces\/([^/]+)$/.exec(pathname)?.[1]
  if (name !== undefined)
    return send(response, { apiVersion: 'v1', kind: 'Namespace', metadata: { name, ...settings.namespace } })
  send(response, { major: '1', minor: '36' })
}

setInterval(() => {
  const changes = all.changes((updates * TICK_MS) / 1000)
  state.changes += changes.length
  history.push(...changes)
  if (history.length > HISTORY) history.splice(0, history.length - HISTORY / 2)
  for (const tell of watches) for (const change of changes) tell(change)
}, TICK_MS)

const server = createServer({ cert: settings.cert, key: settings.key }, answer)
server.listen(0, '127.0.0.1', () => {
  const report = () => process.send?.({ ...state, port: (server.address() as AddressInfo).port })
  report()
  setInterval(report, 100)
})
process.on('disconnect', () => process.exit())
