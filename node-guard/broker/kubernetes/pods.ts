import { BoundedMap } from '../../../common/bounded-map.ts'
import type { Sink } from '../../../common/kube/reflector.ts'
import type { PodRecord } from './pod.ts'
import { revisionsOfWatch } from './revisions.ts'

/** The pods of this node, by uid. */
export type Pods = {
  readonly sink: Sink<PodRecord>
  readonly get: (uid: string) => PodRecord | undefined
  readonly all: () => Iterable<PodRecord>
  /** Whether the watch has reported, as far as is remembered, that a pod is gone; a uid never comes back. */
  readonly isGone: (uid: string) => boolean
  /** As {@link revisionsOfWatch} counts: another number means that the watch has reported the pod in between. */
  readonly revision: (uid: string) => number
  /**
   * Keeps what a live read found while the watch lagged, unless the watch has reported the pod since `revision`, that of when the
   * read began, or has seen it go.
   */
  readonly learn: (pod: PodRecord, revision?: number) => void
  /** Forgets a pod that a live read did not find. */
  readonly forget: (uid: string) => void
  readonly size: () => number
  readonly subscribe: (listener: PodListener) => void
}

type PodListener = {
  /** Called once for every pod that is gone. */
  readonly gone: (uid: string) => void
  /** Called for every pod that is new or has changed. */
  readonly changed: (pod: PodRecord) => void
}

const MAX_GONE = 1024
const MAX_REVISIONS = 2048

/** @param project what is kept of an object of the API server */
export function podStore(project: (object: unknown) => PodRecord | undefined): Pods {
  const listeners: PodListener[] = []
  const byUid = new Map<string, PodRecord>()
  // Pods that are gone, by uid, and whether it was the watch that reported it.
  const gone = new BoundedMap<string, boolean>(MAX_GONE)
  const revisions = revisionsOfWatch(MAX_REVISIONS)

  const forget = (uid: string, watched: boolean) => {
    gone.set(uid, watched || gone.get(uid) === true)
    byUid.delete(uid)
    for (const on of listeners) on.gone(uid)
  }
  const upsert = (pod: PodRecord) => {
    byUid.set(pod.uid, pod)
    for (const on of listeners) on.changed(pod)
  }
  return {
    sink: {
      project,
      replace: (all) => {
        revisions.listed()
        const uids = new Set(all.map(({ uid }) => uid))
        for (const uid of [...byUid.keys()]) if (!uids.has(uid)) forget(uid, true)
        for (const pod of all) upsert(pod)
      },
      upsert: (pod) => {
        revisions.reported(pod.uid)
        upsert(pod)
      },
      remove: ({ uid }) => {
        revisions.reported(uid)
        forget(uid, true)
      },
    },
    get: (uid) => byUid.get(uid),
    all: () => byUid.values(),
    isGone: (uid) => gone.get(uid) === true,
    revision: revisions.of,
    learn: (pod, revision = revisions.of(pod.uid)) => {
      if (revisions.of(pod.uid) === revision && !gone.has(pod.uid)) upsert(pod)
    },
    forget: (uid) => forget(uid, false),
    size: () => byUid.size,
    subscribe: (listener) => void listeners.push(listener),
  }
}
