/** Reads the whole of pods whose metadata alone is known: a few at a time, or one list where a namespace has many. */

import type { Deps } from '../../common/deps.ts'
import { messageOf } from '../../common/errors.ts'
import type { Query } from '../../common/kube/client.ts'
import { pagedList } from '../../common/kube/whole-list.ts'
import { metadataOf } from '../json.ts'
import { roundRobin } from './round-robin.ts'
import type { Unlabelled, UnlabelledPods } from './unlabelled.ts'

/** Pods of one namespace read in one turn; more than these are read in one list, at most once in `LIST_AGAIN_MS`. */
const MAX_ONE_BY_ONE = 5
const LIST_AGAIN_MS = 60_000
/** Lists at the same time. */
const MAX_LISTS = 4
const PAGE = 100

/**
 * @param query selects these pods among all of a namespace
 * @returns a function that reads some pods that are not confirmed; to be called periodically
 */
export function confirmer(pods: UnlabelledPods, query: Query, deps: Deps<'get'>): () => void {
  const { clock, log, signal } = deps
  const underWay = new Set<string>()
  const askedAt = new Map<string, number>()
  const listedAt = new Map<string, number>()
  let turn = 0
  const mayList = (namespace: string) =>
    clock.now() - (listedAt.get(namespace) ?? Number.NEGATIVE_INFINITY) >= LIST_AGAIN_MS

  const read = async (namespace: string, selection: Query, asked: ReadonlyMap<string, Unlabelled>) => {
    const gone = new Map(asked)
    const each = (object: unknown) => {
      const { uid } = metadataOf(object)
      const known = typeof uid === 'string' ? asked.get(uid) : undefined
      if (known === undefined) return
      gone.delete(known.uid)
      pods.confirm(known, object)
    }
    const path = `/api/v1/namespaces/${namespace}/pods`
    await pagedList({ ...deps, path, query: selection, page: PAGE, metadataOnly: false }, each)
    if (!signal.aborted) for (const known of gone.values()) pods.confirm(known, undefined)
  }
  const confirmIn = async (namespace: string, some: readonly Unlabelled[]) => {
    underWay.add(namespace)
    askedAt.set(namespace, ++turn)
    try {
      if (some.length > MAX_ONE_BY_ONE && mayList(namespace)) {
        listedAt.set(namespace, clock.now())
        return await read(namespace, query, new Map(some.map((pod) => [pod.uid, pod])))
      }
      for (const pod of some.slice(0, MAX_ONE_BY_ONE))
        await read(namespace, { fieldSelector: `metadata.name=${pod.name}` }, new Map([[pod.uid, pod]]))
    } catch (error) {
      log.debug('pods of a namespace could not be read', { namespace, error: messageOf(error) })
    } finally {
      underWay.delete(namespace)
    }
  }
  return () => {
    const due = [...pods.all()].filter(
      ({ isConfirmed, namespace }) => !isConfirmed && !underWay.has(namespace),
    )
    const byNamespace = Map.groupBy(due, ({ namespace }) => namespace)
    const namespaces = [...byNamespace.keys()].map((namespace) => ({ namespace }))
    for (const { namespace } of roundRobin(namespaces, askedAt).slice(0, MAX_LISTS - underWay.size))
      void confirmIn(namespace, byNamespace.get(namespace) ?? [])
    for (const name of askedAt.keys()) if (!byNamespace.has(name) && !underWay.has(name)) askedAt.delete(name)
    for (const name of listedAt.keys()) if (mayList(name)) listedAt.delete(name)
  }
}
