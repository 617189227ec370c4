/** Sidecars by release: of pods that have started from their metadata, of those that start from all that is known of them. */
import type { Sink } from '../../common/kube/reflector.ts'
import { isLabelled, phaseOf, type WatchedPod, watchedPod } from './pod.ts'
import type { WatchedPods } from './pods.ts'
import { type Tally, tally } from './tally.ts'

type Counted = { readonly uid: string; readonly version: string; readonly counts: boolean }

export type Sidecars<T> = { readonly sink: Sink<T>; readonly tally: () => Tally }

/**
 * Those of pods that no longer wait for their start.
 *
 * @param most how many are counted one by one
 */
export function startedSidecars(roleKey: string, most?: number): Sidecars<Counted> {
  const counted = mirrored(most)
  const upsert = ({ uid, version, counts }: Counted, isNew?: boolean) => {
    if (counts) counted.now().set(uid, version, isNew)
    else counted.now().delete(uid)
  }
  return {
    tally: counted.now,
    sink: {
      project(object) {
        const pod = watchedPod(object, roleKey)
        // What a server sends that does not know the selectors is not ours, or is counted among those that start.
        const counts = isLabelled(object) && phaseOf(object) !== 'Pending'
        return pod && { uid: pod.uid, version: pod.version, counts }
      },
      begin: counted.begin,
      keep({ uid, version, counts }) {
        if (counts) counted.next().set(uid, version)
        return false
      },
      replace: counted.replace,
      upsert,
      remove: ({ uid }) => counted.now().delete(uid),
    },
  }
}

type Starting = WatchedPod & { readonly isStarting: boolean }

/**
 * Those of pods that wait for their start, of which those with something to say are known, too.
 *
 * @param known where these are kept
 */
export function startingSidecars(roleKey: string, known: WatchedPods, most?: number): Sidecars<Starting> {
  const counted = mirrored(most)
  const { sink } = known
  const counts = ({ isStarting, hasSidecar }: Starting) => isStarting && hasSidecar
  const remove = (pod: Starting) => {
    counted.now().delete(pod.uid)
    sink.remove(pod)
  }
  return {
    tally: counted.now,
    sink: {
      project(object) {
        const pod = watchedPod(object, roleKey)
        return pod && { ...pod, isStarting: isLabelled(object) && phaseOf(object) === 'Pending' }
      },
      begin() {
        counted.begin()
        sink.begin?.()
      },
      keep(pod, kept) {
        if (counts(pod)) counted.next().set(pod.uid, pod.version)
        return pod.isStarting && sink.keep?.(pod, kept) !== false
      },
      replace(all) {
        counted.replace()
        sink.replace(all)
      },
      upsert(pod, isNew) {
        if (!pod.isStarting) return remove(pod)
        if (counts(pod)) counted.now().set(pod.uid, pod.version, isNew)
        sink.upsert(pod)
      },
      remove,
      ...(sink.lacks ? { lacks: sink.lacks } : {}),
    },
  }
}

/** A tally that is replaced by what a list brings once all of it is there. */
function mirrored(most?: number) {
  let [now, next] = [tally(most), tally(0)]
  return {
    now: () => now,
    next: () => next,
    begin() {
      next = tally(most)
    },
    replace() {
      ;[now, next] = [next, tally(0)]
    },
  }
}
