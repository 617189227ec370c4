/**
 * Where pods are watched: while few namespaces are opted in, in each of these alone; else in the whole cluster, because a
 * TLS connection for each would cost more than the pods of the others.
 */
import { messageOf } from '../../common/errors.ts'
import { listPage } from '../../common/kube/list-page.ts'
import { type Reflection, reflect, type Sink } from '../../common/kube/reflector.ts'
import type { WatchDependencies } from '../kubernetes/watch-dependencies.ts'

export type Scopes = {
  /** Takes note of the namespaces that are opted in now. */
  readonly follow: (namespaces: readonly string[]) => void
  /** Lists what could not be listed at once: for every now and then. */
  readonly catchUp: () => void
  /** When the API server last said something in each of them, or when it was first asked to. */
  readonly contactAts: () => number[]
}

/** Watched one by one; half as many, before it is done again after they were too many. */
export const MAX_ALONE = 4
const PAGE = 500

type Watched = { readonly reflection: Reflection; readonly startedAt: number; readonly stop: () => void }

/** @param sinkOf where the pods of a namespace go; undefined: those of all */
export function watchScopes<T>(
  query: Readonly<Record<string, string>>,
  sinkOf: (namespace?: string) => Sink<T>,
  { kube, clock, log, signal }: WatchDependencies,
): Scopes {
  const watched = new Map<string | undefined, Watched>()
  /** Opted in while the whole cluster was being watched, which told of none of their pods before that. */
  const toList = new Set<string>()
  let known: ReadonlySet<string> = new Set()
  let isListing = false

  const pathOf = (namespace: string | undefined) =>
    namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${namespace}/pods`
  const start = (namespace: string | undefined) => {
    const stopping = new AbortController()
    const what = { path: pathOf(namespace), query, sink: sinkOf(namespace), page: PAGE, metadataOnly: true }
    const by = { kube, clock, log, signal: AbortSignal.any([signal, stopping.signal]) }
    watched.set(namespace, {
      reflection: reflect(what, by),
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
    // A list that is under way has told of some of their pods too early: when it ends, it takes what is listed here away.
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
  /** Starts what is wanted, and stops all else. */
  const watchOnly = (wanted: ReadonlySet<string | undefined>) => {
    for (const [scope, { stop }] of watched) {
      if (wanted.has(scope)) continue
      stop()
      watched.delete(scope)
    }
    for (const scope of wanted) if (!watched.has(scope)) start(scope)
  }
  return {
    follow(namespaces) {
      const wasWhole = watched.has(undefined)
      const isWhole = namespaces.length > (wasWhole ? MAX_ALONE / 2 : MAX_ALONE)
      const before = known
      known = new Set(namespaces)
      for (const name of toList) if (!isWhole || !known.has(name)) toList.delete(name)
      if (isWhole && wasWhole) for (const name of namespaces) if (!before.has(name)) toList.add(name)
      watchOnly(new Set(isWhole ? [undefined] : namespaces))
      void catchUp()
    },
    catchUp: () => void catchUp(),
    contactAts: () =>
      [...watched.values()].map(({ reflection, startedAt }) => reflection.contactAt() || startedAt),
  }
}
