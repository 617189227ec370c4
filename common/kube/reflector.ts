/**
 * List and watch, as client-go's reflector does: keeps a store in step with a collection of the API server. Bookmarks keep the
 * resource version recent, a cut connection resumes from it, 410 lists again, and errors back off with jitter and never end it.
 * An object that is too large to be read counts as missing, and does not keep the others from being read.
 */

import { backoff } from '../backoff.ts'
import { pause } from '../clock.ts'
import type { Deps } from '../deps.ts'
import { messageOf } from '../errors.ts'
import { KubeError, type Query } from './client.ts'
import { oversize } from './json-lines.ts'
import { cachedList, type ListSource, pagedList, RETRY } from './whole-list.ts'

/** The destination of objects. Only projections are kept, never whole objects with their managedFields. */
export type Sink<T> = {
  /** The part of an object that is kept, or undefined if it does not have the expected structure. Never throws. */
  readonly project: (object: unknown) => T | undefined
  /** Whether an object of a list is kept, given the number of those kept so far; one that is not kept counts as gone. Absent: all are kept. */
  readonly keep?: (one: T, kept: number) => boolean
  /** A list begins; the next calls of `keep` belong to it. */
  readonly begin?: () => void
  /** All objects that exist, some of them perhaps twice; any other is gone. */
  readonly replace: (all: readonly T[]) => void
  /** @param isNew whether it is new to the query, as the server reports it */
  readonly upsert: (one: T, isNew?: boolean) => void
  readonly remove: (one: T) => void
  /** Whether there is now capacity for objects that were not kept; if so, everything is listed again after the watch. */
  readonly wantsRelist?: () => boolean
}

export type Reflection = ReturnType<typeof reflect>

type WatchEvent = { readonly type?: string; readonly object?: unknown }
type WatchObject = {
  readonly metadata?: { readonly resourceVersion?: string }
  readonly code?: number
  readonly message?: string
}

/** Objects requested at once. */
const PAGE = 20
/** Minimum time before another list that only fetches what exceeded the limit in the last one. */
const REFILL_MS = 300_000
/** After a watch that ended without an error: a server that ends every watch at once must not be hammered. */
const PAUSE_MS = 50

type ReflectOptions<T> = {
  readonly path: string
  readonly query: Query
  readonly sink: Sink<T>
  readonly page?: number
  readonly metadataOnly?: boolean | 'lists'
  readonly cached?: boolean
}

/**
 * Mirrors the collection at `path`, narrowed by `query` (selectors), into `sink` until `signal` aborts.
 *
 * @param what `page`: most objects requested at once; more is quicker, and takes more memory where the client is not
 *   piecemeal. `metadataOnly`: the objects come without spec and status, in lists and watches or in lists alone, where the
 *   server can do that. `cached`: the objects are few enough that the API server may send all at once, which it does from its cache, where an
 *   index finds those of a node; pages would be read from etcd, through all objects of that kind. The answer is never older than
 *   what was known before.
 */
export function reflect<T>(what: ReflectOptions<T>, deps: Deps<'get' | 'stream'>) {
  const reflector = new Reflector(what, deps)
  void reflector.run()
  return {
    /** Whether a first list has arrived. */
    synced: () => reflector.synced,
    /** Whether a list is under way. */
    listing: () => reflector.listing,
    /** When the API server last sent something, milliseconds; 0 before that. */
    contactAt: () => reflector.contactAt,
    /** How often an object was left out because it was too large. */
    leftOut: () => reflector.leftOut,
  }
}

class Reflector<T> {
  synced = false
  listing = false
  contactAt = 0
  leftOut = 0
  readonly #what: ReflectOptions<T>
  readonly #deps: Deps<'get' | 'stream'>
  readonly #source: ListSource
  #listedAt = 0
  /** The resource version from which a watch can resume; undefined if everything must be listed. */
  #version: string | undefined
  /** The latest resource version received, also if a watch cannot resume from it. */
  #newest = '0'
  /** Whether to list from etcd, because the API server's cache may not have the latest change yet. */
  #pastCaches = false

  constructor(what: ReflectOptions<T>, deps: Deps<'get' | 'stream'>) {
    const { path, query, page = PAGE, metadataOnly = false } = what
    this.#what = what
    this.#deps = deps
    this.#source = { ...deps, path, query, page, metadataOnly: metadataOnly !== false }
  }

  async run(): Promise<void> {
    const { clock, signal } = this.#deps
    let failures = 0
    while (!signal.aborted) {
      const before = { failures, contactAt: this.contactAt }
      try {
        if (this.#version === undefined) await this.#list()
        await this.#watch()
        failures = 0
        if (this.#what.sink.wantsRelist?.() && clock.now() - this.#listedAt >= REFILL_MS)
          this.#version = undefined
      } catch (error) {
        if (signal.aborted) return
        failures = this.#noteFailure(error, before)
      }
      await pause(clock, failures === 0 ? PAUSE_MS : backoff(failures, RETRY), signal)
    }
  }

  async #list(): Promise<void> {
    this.listing = true
    try {
      const { all, version } = (await this.#fromCache()) ?? (await this.#byPages())
      if (this.#deps.signal.aborted) return
      this.#what.sink.replace(all)
      this.#version = version
      this.#newest = version ?? '0'
      this.#pastCaches = false
      this.contactAt = this.#deps.clock.now()
      this.#listedAt = this.contactAt
      this.synced = true
    } finally {
      this.listing = false
    }
  }

  async #fromCache() {
    if (!this.#what.cached || this.#pastCaches) return undefined
    const { all, each } = this.#collector()
    const version = await cachedList(this.#source, this.#newest, each)
    return version === undefined ? undefined : { all, version }
  }

  async #byPages() {
    const { all, each } = this.#collector()
    return { all, version: await pagedList(this.#source, each) }
  }

  #collector() {
    const { sink } = this.#what
    const all: T[] = []
    const each = (item: unknown) => {
      if (item === oversize) return this.#noteOversize()
      const one = sink.project(item)
      if (one !== undefined && sink.keep?.(one, all.length) !== false) all.push(one)
    }
    sink.begin?.()
    return { all, each }
  }

  async #watch(): Promise<void> {
    const { kube, clock, signal } = this.#deps
    const { path, query, metadataOnly } = this.#what
    // The server ends the watch after 5 to 10 minutes; half a minute later it must have.
    const seconds = 300 + Math.floor(Math.random() * 300)
    const deadline = new AbortController()
    const cancel = clock.after((seconds + 30) * 1000, () => deadline.abort())
    const parameters = {
      ...query,
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#version ?? '0',
      timeoutSeconds: String(seconds),
    }
    try {
      const until = AbortSignal.any([signal, deadline.signal])
      const reading = { metadataOnly: metadataOnly === true }
      for await (const event of kube.stream(path, parameters, until, reading)) {
        if (signal.aborted) return
        this.contactAt = clock.now()
        if (event === oversize) this.#listAgain()
        this.#apply(event as WatchEvent)
      }
    } finally {
      cancel()
    }
  }

  /** It is not known which object was too large, so all are listed again, so that nothing outdated is believed of one. */
  #listAgain(): never {
    this.#noteOversize()
    this.#version = undefined
    this.#pastCaches = true
    throw new Error('an object is too large to be read, so all are listed again')
  }

  #apply({ type, object }: WatchEvent): void {
    const { sink } = this.#what
    const seen = object as WatchObject | undefined
    if (type === 'ERROR')
      throw new KubeError(seen?.code ?? 500, seen?.message ?? 'the watch reported an error')
    const one = type === 'BOOKMARK' ? undefined : sink.project(object)
    if (one !== undefined && type === 'DELETED') sink.remove(one)
    else if (one !== undefined) sink.upsert(one, type === 'ADDED')
    this.#version = seen?.metadata?.resourceVersion ?? this.#version
    this.#newest = this.#version ?? this.#newest
  }

  #noteOversize(): void {
    const { log } = this.#deps
    const level = this.leftOut === 0 ? 'warn' : 'debug'
    log[level]('an object is too large to be read and counts as not there', { path: this.#what.path })
    this.leftOut++
  }

  /** The number of failures in a row, with this one; a watch that brought something before it was cut starts a new count. */
  #noteFailure(error: unknown, before: { readonly failures: number; readonly contactAt: number }): number {
    const { log } = this.#deps
    if (error instanceof KubeError && error.status === 410) this.#version = undefined
    const failures = this.contactAt > before.contactAt ? 1 : before.failures + 1
    log[failures > 2 ? 'warn' : 'debug']('watch interrupted, will resume', {
      path: this.#what.path,
      error: messageOf(error),
    })
    return failures
  }
}
