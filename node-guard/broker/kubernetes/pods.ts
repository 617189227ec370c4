import { BoundedMap } from '../../../common/bounded-map.ts'
import type { Sink } from '../../../common/kube/reflector.ts'
import type { PodRecord } from './pod.ts'
import { wordsOfWatch } from './words.ts'

/** The pods of this node, by uid. */
export type Pods = {
  readonly sink: Sink<PodRecord>
  readonly get: (uid: string) => PodRecord | undefined
  readonly all: () => Iterable<PodRecord>
  /** Whether the watch is remembered to have said that a pod is gone; a uid never comes back. */
  readonly isGone: (uid: string) => boolean
  /** Stands for the watch's last word about a pod; another number means that it said something in between. */
  readonly word: (uid: string) => number
  /**
   * Takes in what a live read brought while the watch lagged. Not where the watch has said something since `word`, which was the
   * last one when the read began, nor of a pod it saw go.
   */
  readonly learn: (pod: PodRecord, word?: number) => void
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

const REMEMBERED_GONE = 1024
const REMEMBERED_WORDS = 2048

/** @param project what is kept of an object of the API server */
export function podStore(project: (object: unknown) => PodRecord | undefined): Pods {
  const listeners: PodListener[] = []
  const byUid = new Map<string, PodRecord>()
  // By uid, whether it was the watch that said so.
  const gone = new BoundedMap<string, boolean>(REMEMBERED_GONE)
  const words = wordsOfWatch(REMEMBERED_WORDS)

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
        words.saidAll()
        const uids = new Set(all.map(({ uid }) => uid))
        for (const uid of [...byUid.keys()]) if (!uids.has(uid)) forget(uid, true)
        for (const pod of all) upsert(pod)
      },
      upsert: (pod) => {
        words.said(pod.uid)
        upsert(pod)
      },
      remove: ({ uid }) => {
        words.said(uid)
        forget(uid, true)
      },
    },
    get: (uid) => byUid.get(uid),
    all: () => byUid.values(),
    isGone: (uid) => gone.get(uid) === true,
    word: words.last,
    learn: (pod, word = words.last(pod.uid)) => {
      if (words.last(pod.uid) === word && !gone.has(pod.uid)) upsert(pod)
    },
    forget: (uid) => forget(uid, false),
    size: () => byUid.size,
    subscribe: (listener) => void listeners.push(listener),
  }
}
