/** Sidecars by release, of pods that start and of those that have started; and which of them there is something to say about. */
import type { Sink } from '../../common/kube/reflector.ts'
import { isLabelled, phaseOf, type WatchedPod, watchedPod } from './pod.ts'
import type { WatchedPods } from './pods.ts'
import { type Tally, tally } from './tally.ts'

type Started = WatchedPod & { readonly counts: boolean; readonly isWhole: boolean }

type Sidecars<T> = { readonly sink: Sink<T>; readonly tally: () => Tally }

/**
 * Those of pods that have started. Their gate may run again: when a node has rebooted, the kubelet leaves such a pod's phase at
 * Running (kubernetes, HasAnyRegularContainerStarted, "not accurate when its pod sandbox is recreated"), and tells it in
 * an update, which is why these must come whole.
 *
 * @param again where those with something to say are kept
 * @param most how many are counted one by one
 */
export function startedSidecars(roleKey: string, again: WatchedPods, most?: number): Sidecars<Started> {
  const counted = mirrored(most)
  const remove = (pod: Started) => {
    counted.now().delete(pod.uid)
    again.sink.remove(pod)
  }
  const upsert = (pod: Started, isNew?: boolean) => {
    if (!pod.counts) return remove(pod)
    counted.now().set(pod.uid, pod.version, isNew)
    if (pod.isWhole) again.sink.upsert(pod)
  }
  return {
    tally: counted.now,
    sink: {
      project(object) {
        const pod = watchedPod(object, roleKey)
        // What a server sends that does not know the selectors is not ours, or is counted among those that start.
        const phase = phaseOf(object)
        const counts = isLabelled(object) && phase !== 'Pending'
        return pod && { ...pod, counts, isWhole: phase !== undefined }
      },
      begin: counted.begin,
      keep({ uid, version, counts }) {
        if (counts) counted.next().set(uid, version)
        return false
      },
      replace() {
        counted.replace()
        // A list says nothing of gates: the next update of each does.
        again.sink.replace([])
      },
      upsert,
      remove,
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
