/** Counts sidecars by release, of pods that are starting and of those that have started, and passes on those with findings. */
import type { Sink } from '../../common/kube/reflector.ts'
import { isLabelled, phaseOf, type WatchedPod, watchedPod } from './pod.ts'
import type { WatchedPods } from './pods.ts'
import { type Tally, tally } from './tally.ts'

type Started = WatchedPod & { readonly counts: boolean; readonly isWhole: boolean }

type Sidecars<T> = { readonly sink: Sink<T>; readonly tally: () => Tally }

/**
 * Sidecars of pods that have started. Their gate may run again: after a reboot of the node the kubelet leaves such a pod's phase at
 * Running (kubernetes, HasAnyRegularContainerStarted, "not accurate when its pod sandbox is recreated"), and only the status in an
 * update shows it. So updates must come whole.
 *
 * @param restarting keeps those with findings
 * @param max pods that are counted
 */
export function startedSidecars(roleKey: string, again: WatchedPods, max?: number): Sidecars<Started> {
  const counted = mirrored(max)
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
        // A server that does not know the selectors also sends pods that are not ours or that are counted as starting.
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
        // A list shows no gates; the next update of each pod does.
        again.sink.replace([])
      },
      upsert,
      remove,
    },
  }
}

type Starting = WatchedPod & { readonly isStarting: boolean }

/**
 * Sidecars of pods that have not started yet.
 *
 * @param known keeps those with findings
 */
export function startingSidecars(roleKey: string, known: WatchedPods, max?: number): Sidecars<Starting> {
  const counted = mirrored(max)
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
      ...(sink.wantsRelist ? { wantsRelist: sink.wantsRelist } : {}),
    },
  }
}

/** A tally that is replaced by that of a list once the list is complete. */
function mirrored(max?: number) {
  let [now, next] = [tally(max), tally(0)]
  return {
    now: () => now,
    next: () => next,
    begin() {
      next = tally(max)
    },
    replace() {
      ;[now, next] = [next, tally(0)]
    },
  }
}
