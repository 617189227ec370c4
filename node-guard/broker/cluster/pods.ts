import type { Sink } from '../kube/reflector.ts'
import type { PodRecord } from './pod.ts'

/** The pods of this node, by uid. */
export type Pods = {
  readonly sink: Sink<PodRecord>
  readonly get: (uid: string) => PodRecord | undefined
  /** Takes in what a live read brought while the watch lagged, unless the watch already saw that pod go. */
  readonly learn: (pod: PodRecord) => void
  /** Forgets a pod that a live read did not find. */
  readonly forget: (uid: string) => void
  readonly size: () => number
}

const REMEMBERED_GONE = 1024

/**
 * A store of pods.
 *
 * @param project from the API server's object
 * @param onGone told once of every pod that is gone
 * @param onChange told of every pod that is new or changed
 */
export function podStore(
  project: (object: unknown) => PodRecord | undefined,
  on: { readonly gone: (uid: string) => void; readonly change: (pod: PodRecord) => void },
): Pods {
  const byUid = new Map<string, PodRecord>()
  // A live read may be answered before, and arrive after, the watch's word that the pod is gone.
  const gone = new Set<string>()

  const forget = (uid: string) => {
    gone.add(uid)
    for (const oldest of gone) {
      if (gone.size <= REMEMBERED_GONE) break
      gone.delete(oldest)
    }
    byUid.delete(uid)
    on.gone(uid)
  }
  const upsert = (pod: PodRecord) => {
    byUid.set(pod.uid, pod)
    on.change(pod)
  }
  return {
    sink: {
      project,
      replace: (all) => {
        const uids = new Set(all.map(({ uid }) => uid))
        for (const uid of [...byUid.keys()]) if (!uids.has(uid)) forget(uid)
        for (const pod of all) upsert(pod)
      },
      upsert,
      remove: ({ uid }) => forget(uid),
    },
    get: (uid) => byUid.get(uid),
    learn: (pod) => {
      if (!gone.has(pod.uid)) upsert(pod)
    },
    forget,
    size: () => byUid.size,
  }
}
