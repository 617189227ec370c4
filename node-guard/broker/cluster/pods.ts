import type { Sink } from '../../../common/kube/reflector.ts'
import type { PodRecord } from './pod.ts'

/** The pods of this node, by uid. */
export type Pods = {
  readonly sink: Sink<PodRecord>
  readonly get: (uid: string) => PodRecord | undefined
  readonly all: () => Iterable<PodRecord>
  /** Whether the watch is remembered to have said that a pod is gone; a uid never comes back. */
  readonly isGone: (uid: string) => boolean
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
  // By uid, whether it was the watch that said so.
  const gone = new Map<string, boolean>()

  const forget = (uid: string, watched: boolean) => {
    gone.set(uid, watched || gone.get(uid) === true)
    for (const oldest of gone.keys()) {
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
        for (const uid of [...byUid.keys()]) if (!uids.has(uid)) forget(uid, true)
        for (const pod of all) upsert(pod)
      },
      upsert,
      remove: ({ uid }) => forget(uid, true),
    },
    get: (uid) => byUid.get(uid),
    all: () => byUid.values(),
    isGone: (uid) => gone.get(uid) === true,
    learn: (pod) => {
      if (!gone.has(pod.uid)) upsert(pod)
    },
    forget: (uid) => forget(uid, false),
    size: () => byUid.size,
  }
}
