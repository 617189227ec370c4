import type { Sink } from '../../common/kube/reflector.ts'
import { isRelevant, type WatchedPod, watchedPod } from './pod.ts'

/** The pods of the cluster that ask for a sidecar or have one, by uid. */
export type WatchedPods = {
  readonly sink: Sink<WatchedPod>
  readonly all: () => Iterable<WatchedPod>
  readonly get: (uid: string) => WatchedPod | undefined
  /** How many there was no room for, since the last list. */
  readonly leftOut: () => number
}

/** About 8 MiB; beyond it pods go unwatched, which costs them nothing but Events. */
const MOST = 20_000

/** @param onGone told of every pod that is gone or no longer relevant */
export function watchedPods(roleKey: string, onGone: (uid: string) => void, most = MOST): WatchedPods {
  const byUid = new Map<string, WatchedPod>()
  let leftOut = 0
  let unlisted = 0
  const remove = (uid: string) => {
    if (byUid.delete(uid)) onGone(uid)
  }
  const upsert = (pod: WatchedPod) => {
    if (!isRelevant(pod)) remove(pod.uid)
    else if (byUid.has(pod.uid) || byUid.size < most) byUid.set(pod.uid, pod)
    else leftOut++
  }
  return {
    sink: {
      project: (object) => watchedPod(object, roleKey),
      keep(pod, kept) {
        if (kept === 0) unlisted = 0
        if (!isRelevant(pod)) return false
        if (kept >= most) unlisted++
        return kept < most
      },
      replace(all) {
        leftOut = unlisted
        const uids = new Set(all.map(({ uid }) => uid))
        for (const uid of [...byUid.keys()]) if (!uids.has(uid)) remove(uid)
        for (const pod of all) upsert(pod)
      },
      upsert,
      remove: ({ uid }) => remove(uid),
    },
    all: () => byUid.values(),
    get: (uid) => byUid.get(uid),
    leftOut: () => leftOut,
  }
}
