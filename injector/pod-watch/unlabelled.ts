/**
 * Pods of opted-in namespaces without the label of injected pods. The API server sends only their metadata, which shows whether they
 * ask for a role, but not whether they have a sidecar (the label may have been removed) or are on the host network. Until they
 * are read as a whole (confirm.ts) they are presumed to lack it.
 */
import { boundedPods } from './bounded-pods.ts'
import { isLabelled, phaseOf, type WatchedPod, watchedPod } from './pod.ts'

export type Unlabelled = WatchedPod & {
  /** Whether it was read as a whole since its last relevant change. */
  readonly isConfirmed: boolean
  /** Whether it asks, but could not have a sidecar. */
  readonly isExcused: boolean
}

export type UnlabelledPods = ReturnType<typeof unlabelledPods>

/** @param isOptedIn whether a namespace is opted in now: pods of others are not kept */
export function unlabelledPods(
  roleKey: string,
  isOptedIn: (namespace: string) => boolean,
  onGone: (uid: string) => void = () => {},
  max?: number,
) {
  const project = (object: unknown) => unlabelledPod(object, roleKey)
  const { all, get, leftOut, remove, put, sink } = boundedPods<Unlabelled>({
    project,
    isRelevant: ({ asks, hasSidecar, namespace }) => (asks || hasSidecar) && isOptedIn(namespace),
    merged,
    onGone,
    max,
  })
  return {
    all,
    get,
    leftOut,
    sink,
    /** Forgets pods of namespaces that are no longer opted in. */
    forgetOthers() {
      for (const { uid, namespace } of [...all()]) if (!isOptedIn(namespace)) remove(uid)
    },
    /** Updates a pod that was read as a whole; undefined, or another pod with its name, means that it is gone. */
    confirm(known: Unlabelled, object: unknown) {
      const now = get(known.uid)
      const whole = project(object)
      if (now === undefined) return
      if (whole?.uid !== known.uid) return remove(known.uid)
      const { ip, hasSidecar, startsAlone, gateSince, asks } = whole
      // Containers cannot change, but the status may have changed since the pod was read.
      const isConfirmed = now === known || !hasSidecar
      const isExcused = now.asks && !asks
      put({ ...now, ip, hasSidecar, startsAlone, gateSince, asks, isConfirmed, isExcused })
    },
  }
}

function unlabelledPod(object: unknown, roleKey: string): Unlabelled | undefined {
  const pod = watchedPod(object, roleKey)
  if (pod === undefined) return undefined
  if (isLabelled(object))
    return { ...pod, asks: false, hasSidecar: false, isConfirmed: true, isExcused: false }
  const isWhole = phaseOf(object) !== undefined
  // The status annotation is written together with the sidecar.
  const hasSidecar = isWhole ? pod.hasSidecar : pod.version !== 'unknown'
  return { ...pod, hasSidecar, isConfirmed: isWhole, isExcused: false }
}

/** An update of a pod: of one that was read as a whole what cannot change is kept, and its gate is read again. */
function merged(known: Unlabelled, news: Unlabelled): Unlabelled {
  if (news.isConfirmed) return news
  if (!known.isConfirmed) return { ...news, hasSidecar: known.hasSidecar || news.hasSidecar }
  const { ip, hasSidecar, startsAlone, gateSince, isExcused } = known
  const asks = news.asks && !isExcused
  return { ...news, ip, hasSidecar, startsAlone, gateSince, asks, isExcused, isConfirmed: !hasSidecar }
}
