/** Pods that are known one by one, up to a bound; those beyond it are only counted. */
import type { Sink } from '../../common/kube/reflector.ts'
import type { WatchedPod } from './pod.ts'
import { type Tally, tally } from './tally.ts'

/** About 8 MiB; further pods are only counted, and get no Events. */
const MAX_KNOWN = 20_000

type Rules<T> = {
  readonly project: Sink<T>['project']
  /** Others are not kept. */
  readonly isRelevant: (pod: T) => boolean
  /** What is kept of an update of a known pod; the update by default. */
  readonly merged?: (known: T, news: T) => T
  /** Called for every pod that is gone or no longer relevant. */
  readonly onGone: (uid: string) => void
  readonly max: number | undefined
}

export function boundedPods<T extends WatchedPod>(rules: Rules<T>) {
  const { project, isRelevant, merged = (_, news) => news, onGone, max = MAX_KNOWN } = rules
  const byUid = new Map<string, T>()
  let leftOut = tally()
  const remove = (uid: string) => {
    leftOut.delete(uid)
    if (byUid.delete(uid)) onGone(uid)
  }
  const upsert = (pod: T) => {
    if (!isRelevant(pod)) return remove(pod.uid)
    const known = byUid.get(pod.uid)
    if (known === undefined && byUid.size >= max) return leftOut.set(pod.uid, '')
    leftOut.delete(pod.uid)
    byUid.set(pod.uid, known === undefined ? pod : merged(known, pod))
  }
  return {
    all: () => byUid.values(),
    get: (uid: string) => byUid.get(uid),
    leftOut: () => leftOut.size() + leftOut.leftOut(),
    remove,
    /** Replaces a pod that is known. */
    put: (pod: T) => void byUid.set(pod.uid, pod),
    /** For the pods of one namespace, or for all. */
    sink(namespace?: string): Sink<T> {
      let unlisted: Tally | undefined
      const isHere = (pod: T) => namespace === undefined || pod.namespace === namespace
      return {
        project,
        begin() {
          unlisted = tally()
        },
        keep(pod, kept) {
          if (!isRelevant(pod)) return false
          if (kept >= max) unlisted?.set(pod.uid, '')
          return kept < max
        },
        replace(all) {
          leftOut = unlisted ?? tally()
          unlisted = undefined
          const uids = new Set(all.map(({ uid }) => uid))
          for (const pod of [...byUid.values()]) if (isHere(pod) && !uids.has(pod.uid)) remove(pod.uid)
          for (const pod of all) upsert(pod)
        },
        upsert,
        remove: ({ uid }) => remove(uid),
        wantsRelist: () => leftOut.size() > 0 && 2 * byUid.size < max,
      }
    },
  }
}
