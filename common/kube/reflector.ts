/**
 * List and watch, so that a store here mirrors a collection there (client-go's reflector): bookmarks keep the resource version
 * young, a cut connection goes on from the last one, 410 lists again, errors back off with jitter and never end it. An object
 * that is too large to be read counts as not there, and keeps nothing else away.
 */
import { backoff } from '../backoff.ts'
import { type Clock, pause } from '../clock.ts'
import { messageOf } from '../errors.ts'
import { TooLargeError } from '../http-request.ts'
import type { Logger } from '../log.ts'
import { type Kube, KubeError, type Query } from './client.ts'
import { oversize } from './json-lines.ts'
import { type List, type ListPage, listPage } from './list-page.ts'

/** Where objects go. Only projections are kept, never whole objects with their managedFields. */
export type Sink<T> = {
  /** What of an object is kept, or undefined where it is not of the expected shape. Never throws. */
  readonly project: (object: unknown) => T | undefined
  /** Whether a list need bring it, which has brought `kept` so far; what it need not is as good as gone. Absent: all. */
  readonly keep?: (one: T, kept: number) => boolean
  /** A list begins: what `keep` is asked about from now on belongs to it. */
  readonly begin?: () => void
  /** All there is, some of it perhaps twice; what is not among them is gone. */
  readonly replace: (all: readonly T[]) => void
  /** @param isNew whether it was not there before, as far as the server knows what is seen through the query */
  readonly upsert: (one: T, isNew?: boolean) => void
  readonly remove: (one: T) => void
  /** Asked when a watch has ended: whether things were left out for which there is room again, so that all is to be listed. */
  readonly lacks?: () => boolean
}

export type Reflection = {
  /** Whether a first list has arrived. */
  readonly synced: () => boolean
  /** Whether a list is under way. */
  readonly listing: () => boolean
  /** When the API server last said something, milliseconds; 0 before the first word. */
  readonly contactAt: () => number
  /** How often an object was left out because it was too large. */
  readonly leftOut: () => number
}

type WatchEvent = { readonly type?: string; readonly object?: unknown }
type WatchObject = {
  readonly metadata?: { readonly resourceVersion?: string }
  readonly code?: number
  readonly message?: string
}

const RETRY = { base: 500, cap: 30_000 }
/** Objects asked for at once. */
const PAGE = 20
/** What the API server answers where its cache cannot serve a list, besides 410: not fresh enough (504), or not understood. */
const NOT_FROM_CACHE = [400, 410, 422, 504]
/** Of one page, before the whole list is begun anew. */
const TRIES = 3
/** Between two lists of which the second only fills what the first had no room for. */
const REFILL_MS = 300_000

/**
 * Mirrors the collection at `path`, narrowed by `query` (selectors), into `sink` until `signal` aborts.
 *
 * @param what `page`: most objects asked for at once; more is quicker, and takes more memory where the client is not
 *   piecemeal. `metadataOnly`: the objects come without spec and status, in lists and watches or in lists alone, where the
 *   server can do that. `cached`: few enough that the API server may give all of them at once, which it does out of its cache,
 *   where it finds those of a node by an index; pages are read from etcd, through everything there is of that kind. Never
 *   older than what was known before.
 */
export function reflect<T>(
  what: {
    readonly path: string
    readonly query: Query
    readonly sink: Sink<T>
    readonly page?: number
    readonly metadataOnly?: boolean | 'lists'
    readonly cached?: boolean
  },
  by: {
    readonly kube: Pick<Kube, 'get' | 'stream'>
    readonly clock: Clock
    readonly log: Logger
    readonly signal: AbortSignal
  },
): Reflection {
  const { path, query, sink, page = PAGE, metadataOnly = false, cached = false } = what
  const { kube, clock, log, signal } = by
  let synced = false
  let listing = false
  let contactAt = 0
  let listedAt = 0
  let leftOut = 0
  let version: string | undefined
  /** The last version heard of, also when watching cannot go on from it. */
  let newest = '0'
  /** Something happened that a cache may not have seen yet. */
  let pastCaches = false

  const noteOversize = () => {
    log[leftOut === 0 ? 'warn' : 'debug']('an object is too large to be read and counts as not there', {
      path,
    })
    leftOut++
  }

  /** A page that did not come whole is asked for again, in a smaller size: it may be one of hundreds. */
  const pageOf = async (
    from: Query,
    limit: number,
    each: (item: unknown) => void,
    tries = 1,
  ): Promise<ListPage> => {
    try {
      return await listPage(kube, path, from, limit, { metadataOnly: metadataOnly !== false, each })
    } catch (error) {
      if (error instanceof KubeError || signal.aborted || tries >= TRIES || from.continue === undefined)
        throw error
      log.debug('a page of a list is asked for again', { path, error: messageOf(error) })
      await pause(clock, backoff(tries, RETRY), signal)
      return pageOf(from, Math.max(1, Math.floor(limit / 2)), each, tries + 1)
    }
  }

  const collector = () => {
    const all: T[] = []
    const each = (item: unknown) => {
      if (item === oversize) return noteOversize()
      const one = sink.project(item)
      if (one !== undefined && sink.keep?.(one, all.length) !== false) all.push(one)
    }
    sink.begin?.()
    return { all, each }
  }

  const list = async () => {
    const listed = (cached && !pastCaches && (await cachedList())) || (await listByPages())
    if (signal.aborted) return
    sink.replace(listed.all)
    version = listed.version
    newest = version ?? '0'
    pastCaches = false
    contactAt = clock.now()
    listedAt = contactAt
    synced = true
  }

  /** @returns undefined where the API server's cache cannot serve it */
  const cachedList = async () => {
    const { all, each } = collector()
    const from = { resourceVersion: newest, resourceVersionMatch: 'NotOlderThan' }
    try {
      const reading = { each, whole: true, metadataOnly: metadataOnly !== false }
      const { items = [], metadata } = (await kube.get(path, { ...query, ...from }, reading)) as List
      for (const item of items) each(item)
      const isWhole = metadata?.resourceVersion && !metadata.continue
      return isWhole ? { all, version: metadata.resourceVersion } : undefined
    } catch (error) {
      if (error instanceof TooLargeError) return undefined
      if (error instanceof KubeError && NOT_FROM_CACHE.includes(error.status)) return undefined
      throw error
    }
  }

  const listByPages = async () => {
    const { all, each } = collector()
    let limit = page
    let answer: ListPage | undefined
    do {
      const from: Query = answer?.next ? { continue: answer.next } : {}
      answer = await pageOf({ ...query, ...from }, limit, each)
      if (signal.aborted) break
      for (const item of answer.items) each(item)
      if (answer.isOversize) noteOversize()
      // Smaller pages where there are large objects, and larger ones again behind them.
      limit = Math.min(page, answer.limit * 2)
    } while (answer.next)
    return { all, version: answer.version }
  }

  const watch = async () => {
    // The server ends the watch after 5 to 10 minutes; half a minute later it must have.
    const seconds = 300 + Math.floor(Math.random() * 300)
    const deadline = new AbortController()
    const cancel = clock.after((seconds + 30) * 1000, () => deadline.abort())
    const parameters = {
      ...query,
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: version ?? '0',
      timeoutSeconds: String(seconds),
    }
    try {
      const until = AbortSignal.any([signal, deadline.signal])
      for await (const event of kube.stream(path, parameters, until, {
        metadataOnly: metadataOnly === true,
      })) {
        if (signal.aborted) return
        contactAt = clock.now()
        if (event === oversize) {
          noteOversize()
          // Whose news it was is not known: listing again keeps anything old from being believed of anybody.
          version = undefined
          pastCaches = true
          throw new Error('an object is too large to be read, so all are listed again')
        }
        apply(event as WatchEvent)
      }
    } finally {
      cancel()
    }
  }

  const apply = ({ type, object }: WatchEvent) => {
    const seen = object as WatchObject | undefined
    if (type === 'ERROR')
      throw new KubeError(seen?.code ?? 500, seen?.message ?? 'the watch reported an error')
    const one = type === 'BOOKMARK' ? undefined : sink.project(object)
    if (one !== undefined && type === 'DELETED') sink.remove(one)
    else if (one !== undefined) sink.upsert(one, type === 'ADDED')
    version = seen?.metadata?.resourceVersion ?? version
    newest = version ?? newest
  }

  /** Failures in a row after this one; a watch that brought something before it was cut starts the count anew. */
  const noteFailure = (error: unknown, before: { failures: number; contactAt: number }): number => {
    if (error instanceof KubeError && error.status === 410) version = undefined
    const failures = contactAt > before.contactAt ? 1 : before.failures + 1
    log[failures > 2 ? 'warn' : 'debug']('watch interrupted, will resume', { path, error: messageOf(error) })
    return failures
  }

  const run = async () => {
    let failures = 0
    while (!signal.aborted) {
      const before = { failures, contactAt }
      try {
        if (version === undefined) {
          listing = true
          await list().finally(() => {
            listing = false
          })
        }
        await watch()
        failures = 0
        if (sink.lacks?.() && clock.now() - listedAt >= REFILL_MS) version = undefined
      } catch (error) {
        if (signal.aborted) return
        failures = noteFailure(error, before)
      }
      // Also after a clean end, so that a server that ends every watch at once is not hammered.
      await pause(clock, failures === 0 ? 50 : backoff(failures, RETRY), signal)
    }
  }
  void run()
  return {
    synced: () => synced,
    listing: () => listing,
    contactAt: () => contactAt,
    leftOut: () => leftOut,
  }
}
