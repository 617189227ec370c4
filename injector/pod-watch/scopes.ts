/**
 * Where pods are watched. While few namespaces are opted in, each of them has its own watch; otherwise one watch covers the whole
 * cluster, because a TLS connection for each namespace would cost more than the pods of all others.
 */

import type { Deps } from '../../common/deps.ts'
import { messageOf } from '../../common/errors.ts'
import type { Query } from '../../common/kube/client.ts'
import { type Reflection, reflect, type Sink } from '../../common/kube/reflector.ts'
import { pagedList } from '../../common/kube/whole-list.ts'

/** Namespaces with their own watch; once there were more, there must be half as many before they get their own again. */
const MAX_ALONE = 4
const PAGE = 500

type Watched = { readonly reflection: Reflection; readonly startedAt: number; readonly stop: () => void }

/** @param sinkOf returns the sink for the pods of a namespace, or without one for all pods */
export function watchScopes<T>(
  query: Query,
  sinkOf: (namespace?: string) => Sink<T>,
  deps: Deps<'get' | 'stream'>,
) {
  const watched = new Map<string | undefined, Watched>()
  /** Namespaces that opted in during a watch over the whole cluster: it had sent their pods before, when they were not kept. */
  const toList = new Set<string>()
  let known: ReadonlySet<string> = new Set()
  let isListing = false

  const listNamespace = async (namespace: string) => {
    const { project, upsert } = sinkOf(namespace)
    await pagedList({ ...deps, ...podsOf(namespace, query) }, (object) => {
      const one = project(object)
      if (one !== undefined) upsert(one)
    })
  }
  const catchUp = async () => {
    const whole = watched.get(undefined)
    // A list in progress may have skipped some of their pods, and its end would remove what is listed here.
    if (isListing || whole?.reflection.synced() !== true || whole.reflection.listing()) return
    isListing = true
    for (const namespace of toList) {
      try {
        await listNamespace(namespace)
        toList.delete(namespace)
      } catch (error) {
        deps.log.debug('pods of a namespace could not be listed', { namespace, error: messageOf(error) })
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
    for (const scope of wanted)
      if (!watched.has(scope)) watched.set(scope, started(podsOf(scope, query), sinkOf(scope), deps))
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

/** The pods of a namespace, or of all, as they are asked for. */
const podsOf = (namespace: string | undefined, query: Query) => ({
  path: namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${namespace}/pods`,
  query,
  page: PAGE,
  metadataOnly: true,
})

function started<T>(pods: ReturnType<typeof podsOf>, sink: Sink<T>, deps: Deps<'get' | 'stream'>): Watched {
  const stopping = new AbortController()
  const signal = AbortSignal.any([deps.signal, stopping.signal])
  const reflection = reflect({ ...pods, sink }, { ...deps, signal })
  return { reflection, startedAt: deps.clock.now(), stop: () => stopping.abort() }
}
