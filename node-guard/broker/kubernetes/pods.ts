import { BoundedMap } from '../../../common/bounded-map.ts'
import type { Sink } from '../../../common/kube/reflector.ts'
import type { PodRecord } from './pod.ts'
import { revisionsOfWatch } from './revisions.ts'

/** The pods of this node, by uid. */
export type Pods = ReturnType<typeof podStore>

type PodListener = {
  /** Called once for every pod that is gone. */
  readonly gone: (uid: string) => void
  /** Called for every pod that is new or has changed. */
  readonly changed: (pod: PodRecord) => void
}

const MAX_GONE = 1024
const MAX_REVISIONS = 2048

/** @param project what is kept of an object of the API server */
export function podStore(project: (object: unknown) => PodRecord | undefined) {
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
  const sink: Sink<PodRecord> = {
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
  }
  return {
    sink,
    get: (uid: string) => byUid.get(uid),
    all: () => byUid.values(),
    /** Whether the watch has reported, as far as is remembered, that a pod is gone; a uid never comes back. */
    isGone: (uid: string) => gone.get(uid) === true,
    /** As {@link revisionsOfWatch} counts: another number means that the watch has reported the pod in between. */
    revision: revisions.of,
    /**
     * Keeps what a live read found while the watch lagged, unless the watch has reported the pod since `revision`, that of when the
     * read began, or has seen it go.
     */
    learn: (pod: PodRecord, revision = revisions.of(pod.uid)) => {
      if (revisions.of(pod.uid) === revision && !gone.has(pod.uid)) upsert(pod)
    },
    /** Forgets a pod that a live read did not find. */
    forget: (uid: string) => forget(uid, false),
    size: () => byUid.size,
    subscribe: (listener: PodListener) => void listeners.push(listener),
  }
}
