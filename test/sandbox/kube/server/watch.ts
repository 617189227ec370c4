/** Watches: initial events, filtered changes, bookmarks, time-outs, and the interruptions that tests request. */
import type { ServerResponse } from 'node:http'
import type { KubeObject } from '../objects/objects.ts'
import { formed, type OutputForm } from '../objects/output-form.ts'
import { apiVersionOf, keyOf, type Resource } from '../objects/resources.ts'
import { badRequest, expired, fieldError, invalid } from '../objects/status.ts'
import type { Change, Store } from '../objects/store.ts'
import { parseVersion, selection } from './list.ts'
import type { View } from './view.ts'

const INITIAL_EVENTS_END = 'k8s.io/initial-events-end'
/** Without `timeoutSeconds` the real server picks 30–60 minutes. */
const DEFAULT_TIMEOUT_S = 1800
/** A bookmark is sent shortly before the server ends a watch, so that the client resumes from a fresh version. */
const BOOKMARK_BEFORE_END_MS = 2000

export type Watches = {
  /** Serves one watch until either side ends it. */
  serve(
    view: View,
    namespace: string | undefined,
    query: URLSearchParams,
    response: ServerResponse,
    form: OutputForm,
  ): void
  /** Ends every watch: `clean` finishes the response, `reset` destroys the connection, `expired` sends ERROR 410 first. */
  cut(how: How): number
  /** Sends a bookmark on every watch that asked for them. */
  bookmark(): void
  readonly open: number
}

type Options = {
  readonly start: number | undefined
  readonly initial: boolean
  readonly bookmarks: boolean
  readonly markInitialEnd: boolean
  readonly timeoutMs: number
}

function options(query: URLSearchParams): Options {
  const version = parseVersion(query.get('resourceVersion'))
  const match = query.get('resourceVersionMatch')
  const sendInitial = query.get('sendInitialEvents')
  const bad = (field: string, text: string) =>
    invalid('ListOptions', 'meta.k8s.io', '', [fieldError.forbidden(field, text)])
  if (sendInitial === null && match !== null)
    throw bad(
      'resourceVersionMatch',
      'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
    )
  if (sendInitial !== null && match !== 'NotOlderThan')
    throw bad(
      'resourceVersionMatch',
      'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
    )
  const seconds = Number(query.get('timeoutSeconds') ?? DEFAULT_TIMEOUT_S)
  if (!Number.isFinite(seconds) || seconds < 0) throw badRequest('timeoutSeconds: must be a positive integer')
  const bookmarks = query.get('allowWatchBookmarks') === 'true'
  const initial = sendInitial === null ? version === undefined || version === 0 : sendInitial === 'true'
  return {
    start: version === 0 ? undefined : version,
    initial,
    bookmarks,
    markInitialEnd: sendInitial === 'true' && bookmarks,
    timeoutMs: (seconds === 0 ? DEFAULT_TIMEOUT_S : seconds) * 1000,
  }
}

/** What a change means for a watch that sees only part of the objects. */
function seenThrough(
  matches: (object: KubeObject) => boolean,
  change: Change,
): { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: KubeObject } | undefined {
  const before = change.previous !== undefined && matches(change.previous)
  const now = change.type !== 'DELETED' && matches(change.object)
  if (now) return { type: before ? 'MODIFIED' : 'ADDED', object: change.object }
  if (!before || change.previous === undefined) return undefined
  // For the watch, leaving the selector is a deletion: it gets the former object with the version of the change.
  const metadata = { ...change.previous.metadata, resourceVersion: String(change.version) }
  return { type: 'DELETED', object: { ...change.previous, metadata } }
}

type How = 'clean' | 'reset' | 'expired'

/** What is written to one watch. */
function writer(store: Store, view: View, response: ServerResponse, form: OutputForm) {
  const send = (type: string, object: unknown) => response.write(`${JSON.stringify({ type, object })}\n`)
  return {
    object: (type: string, object: KubeObject) => send(type, formed(view.show(object), form)),
    bookmark(annotations?: Record<string, string>) {
      const { kind } = view.resource
      const metadata = {
        resourceVersion: String(store.version),
        ...(annotations === undefined ? {} : { annotations }),
      }
      send('BOOKMARK', formed({ kind, apiVersion: apiVersionOf(view.resource), metadata }, form))
    },
    expired: (from: number) =>
      send('ERROR', expired(`too old resource version: ${from} (${store.compactedVersion})`).status),
  }
}

type Writer = ReturnType<typeof writer>

/** Sends a watch everything from before its future changes; false when its version is too old. */
function catchUp(
  store: Store,
  wanted: Options,
  stored: Resource,
  namespace: string | undefined,
  matches: (object: KubeObject) => boolean,
  out: Writer,
  tell: (change: Change) => void,
): boolean {
  if (wanted.initial) {
    for (const object of store.list(stored, namespace)) if (matches(object)) out.object('ADDED', object)
    if (wanted.markInitialEnd) out.bookmark({ [INITIAL_EVENTS_END]: 'true' })
    return true
  }
  const from = wanted.start ?? store.version
  const missed = store.since(stored, from)
  // With its watch cache the real server answers 200 and reports the 410 in the stream.
  if (missed === undefined) out.expired(from)
  else for (const change of missed) tell(change)
  return missed !== undefined
}

/** @param bookmarkMs how often a watch that allows bookmarks gets one */
export function createWatches(store: Store, bookmarkMs: number): Watches {
  const open = new Set<{ cut(how: How): void; bookmark(): void }>()

  /** Runs a watch until its time is over, the client disconnects or it is cut. */
  function keepOpen(
    wanted: Options,
    out: Writer,
    response: ServerResponse,
    tell: (change: Change) => void,
  ): void {
    const unsubscribe = store.subscribe(tell)
    const timers = [setTimeout(() => end('clean'), wanted.timeoutMs)]
    if (wanted.bookmarks) {
      const last = wanted.timeoutMs - BOOKMARK_BEFORE_END_MS
      timers.push(setInterval(() => out.bookmark(), bookmarkMs))
      // A watch that is shorter than that gets none.
      if (last > 0) timers.push(setTimeout(() => out.bookmark(), last))
    }
    const entry = {
      bookmark: () => {
        if (wanted.bookmarks) out.bookmark()
      },
      cut: (how: How) => end(how),
    }
    function end(how: How | 'closed'): void {
      if (!open.delete(entry)) return
      unsubscribe()
      for (const timer of timers) clearTimeout(timer)
      if (how === 'expired') out.expired(store.version)
      if (how === 'reset') response.destroy()
      else if (how !== 'closed') response.end()
    }
    open.add(entry)
    response.on('close', () => end('closed'))
    response.on('error', () => end('closed'))
  }

  return {
    serve(view, namespace, query, response, form) {
      const wanted = options(query)
      const selected = selection(view, query)
      const key = keyOf(view.stored)
      const matches = (object: KubeObject) =>
        (namespace === undefined || object.metadata.namespace === namespace) && selected(object)
      const out = writer(store, view, response, form)
      const tell = (change: Change) => {
        const seen = change.key === key ? seenThrough(matches, change) : undefined
        if (seen !== undefined) out.object(seen.type, seen.object)
      }
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' })
      response.flushHeaders()
      if (catchUp(store, wanted, view.stored, namespace, matches, out, tell))
        keepOpen(wanted, out, response, tell)
      else response.end()
    },
    cut(how) {
      const entries = [...open]
      for (const entry of entries) entry.cut(how)
      return entries.length
    },
    bookmark() {
      for (const entry of open) entry.bookmark()
    },
    get open() {
      return open.size
    },
  }
}
