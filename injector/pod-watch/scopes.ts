/**
 * Where pods are watched. While few namespaces are opted in, each of them has its own watch; otherwise one watch covers the whole
 * cluster, because a TLS connection for each namespace would cost more than the pods of all others.
 */

import type { Deps } from '../../common/deps.ts'
import { messageOf } from '../../common/errors.ts'
import { listPage } from '../../common/kube/list-page.ts'
import { type Reflection, reflect, type Sink } from '../../common/kube/reflector.ts'

/** Namespaces with their own watch; once there were more, there must be half as many before they get their own again. */
const MAX_ALONE = 4
const PAGE = 500

type Watched = { readonly reflection: Reflection; readonly startedAt: number; readonly stop: () => void }

/** @param sinkOf returns the sink for the pods of a namespace, or without one for all pods */
export function watchScopes<T>(
  query: Readonly<Record<string, string>>,
  sinkOf: (namespace?: string) => Sink<T>,
  { kube, clock, log, signal }: Deps<'get' | 'stream'>,
) {
  const watched = new Map<string | undefined, Watched>()
  /** Namespaces that opted in during a watch over the whole cluster: it had sent their pods before, when they were not kept. */
  const toList = new Set<string>()
  let known: ReadonlySet<string> = new Set()
  let isListing = false

  const pathOf = (namespace: string | undefined) =>
    namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${namespace}/pods`
  const start = (namespace: string | undefined) => {
    const stopping = new AbortController()
    const what = { path: pathOf(namespace), query, sink: sinkOf(namespace), page: PAGE, metadataOnly: true }
    const deps = { kube, clock, log, signal: AbortSignal.any([signal, stopping.signal]) }
    watched.set(namespace, {
      reflection: reflect(what, deps),
      startedAt: clock.now(),
      stop: () => stopping.abort(),
    })
  }
  const listOf = async (namespace: string) => {
    const { project, upsert } = sinkOf(namespace)
    const each = (object: unknown) => {
      const one = project(object)
      if (one !== undefined) upsert(one)
    }
    let next: string | undefined
    do {
      const from = { ...query, ...(next === undefined ? {} : { continue: next }) }
      const page = await listPage(kube, pathOf(namespace), from, PAGE, { metadataOnly: true, each })
      page.items.forEach(each)
      next = page.next
    } while (next !== undefined && !signal.aborted && known.has(namespace))
  }
  const catchUp = async () => {
    const whole = watched.get(undefined)
    // A list in progress may have skipped some of their pods, and its end would remove what is listed here.
    if (isListing || whole?.reflection.synced() !== true || whole.reflection.listing()) return
    isListing = true
    for (const namespace of toList) {
      try {
        await listOf(namespace)
        toList.delete(namespace)
      } catch (error) {
        log.debug('pods of a namespace could not be listed', { namespace, error: messageOf(error) })
      }
    }
    isListing = false
  }
  /** Starts the wanted watches and stops all others. */
  const watchOnly = (wanted: ReadonlySet<string | undefined>) => {
    for (const [scope, { stop }] of watched) {
      if (wanted.has(scope)) continue
      stop()
      watched.delete(scope)
    }
    for (const scope of wanted) if (!watched.has(scope)) start(scope)
  }
  return {
    /** Watches the pods of these namespaces, which are all that are opted in now. */
    follow(namespaces: readonly string[]) {
      const wasWhole = watched.has(undefined)
      const isWhole = namespaces.length > (wasWhole ? MAX_ALONE / 2 : MAX_ALONE)
      const before = known
      known = new Set(namespaces)
      for (const name of toList) if (!isWhole || !known.has(name)) toList.delete(name)
      if (isWhole && wasWhole) for (const name of namespaces) if (!before.has(name)) toList.add(name)
      watchOnly(new Set(isWhole ? [undefined] : namespaces))
      void catchUp()
    },
    /** Lists namespaces that could not be listed when they opted in; call it periodically. */
    catchUp: () => void catchUp(),
    /** For each watch, when the API server last sent something, or when the watch began. */
    contactAts: () =>
      [...watched.values()].map(({ reflection, startedAt }) => reflection.contactAt() || startedAt),
  }
}
