import type { Sink } from '../../common/kube/reflector.ts'
import { isRelevant, type WatchedPod, watchedPod } from './pod.ts'
import { tally } from './tally.ts'

/** The pods about which there is, or may soon be, a finding. */
export type WatchedPods = ReturnType<typeof watchedPods>

/** About 8 MiB; further pods are only counted, and get no Events. */
export const MAX_KNOWN = 20_000

/** @param onGone called for every pod that is gone or no longer relevant */
export function watchedPods(roleKey: string, onGone: (uid: string) => void = () => {}, max = MAX_KNOWN) {
  const byUid = new Map<string, WatchedPod>()
  let leftOut = tally()
  let unlisted = tally()
  const remove = (uid: string) => {
    leftOut.delete(uid)
    if (byUid.delete(uid)) onGone(uid)
  }
  const upsert = (pod: WatchedPod) => {
    if (!isRelevant(pod)) return remove(pod.uid)
    if (!byUid.has(pod.uid) && byUid.size >= max) return leftOut.set(pod.uid, '')
    leftOut.delete(pod.uid)
    byUid.set(pod.uid, pod)
  }
  const sink: Sink<WatchedPod> = {
    project: (object) => watchedPod(object, roleKey),
    begin() {
      unlisted = tally()
    },
    keep(pod, kept) {
      if (!isRelevant(pod)) return false
      if (kept >= max) unlisted.set(pod.uid, '')
      return kept < max
    },
    replace(all) {
      leftOut = unlisted
      const uids = new Set(all.map(({ uid }) => uid))
      for (const uid of [...byUid.keys()]) if (!uids.has(uid)) remove(uid)
      for (const pod of all) upsert(pod)
    },
    upsert,
    remove: ({ uid }) => remove(uid),
    wantsRelist: () => leftOut.size() > 0 && 2 * byUid.size < max,
  }
  return {
    sink,
    all: () => byUid.values(),
    get: (uid: string) => byUid.get(uid),
    leftOut: () => leftOut.size() + leftOut.leftOut(),
  }
}
