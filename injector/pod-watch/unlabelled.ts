/**
 * Pods of opted-in namespaces without the label of injected pods. The API server sends only their metadata, which shows whether they
 * ask for a role, but not whether they have a sidecar (the label may have been removed) or are on the host network. Until they
 * are read as a whole (confirm.ts) they are presumed to lack it.
 */
import type { Sink } from '../../common/kube/reflector.ts'
import { isLabelled, phaseOf, type WatchedPod, watchedPod } from './pod.ts'
import { MAX_KNOWN } from './pods.ts'
import { tally } from './tally.ts'

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
  max = MAX_KNOWN,
) {
  const byUid = new Map<string, Unlabelled>()
  let leftOut = tally()
  const project = (object: unknown): Unlabelled | undefined => {
    const pod = watchedPod(object, roleKey)
    if (pod === undefined) return undefined
    if (isLabelled(object))
      return { ...pod, asks: false, hasSidecar: false, isConfirmed: true, isExcused: false }
    const isWhole = phaseOf(object) !== undefined
    // The status annotation is written together with the sidecar.
    const hasSidecar = isWhole ? pod.hasSidecar : pod.version !== 'unknown'
    return { ...pod, hasSidecar, isConfirmed: isWhole, isExcused: false }
  }
  const isRelevant = ({ asks, hasSidecar, namespace }: Unlabelled) =>
    (asks || hasSidecar) && isOptedIn(namespace)
  const remove = (uid: string) => {
    leftOut.delete(uid)
    if (byUid.delete(uid)) onGone(uid)
  }
  const upsert = (news: Unlabelled) => {
    if (!isRelevant(news)) return remove(news.uid)
    const known = byUid.get(news.uid)
    if (known === undefined && byUid.size >= max) return leftOut.set(news.uid, '')
    leftOut.delete(news.uid)
    byUid.set(news.uid, known === undefined || news.isConfirmed ? news : merged(known, news))
  }
  return {
    all: () => byUid.values(),
    get: (uid: string) => byUid.get(uid),
    leftOut: () => leftOut.size() + leftOut.leftOut(),
    /** Forgets pods of namespaces that are no longer opted in. */
    forgetOthers() {
      for (const { uid, namespace } of [...byUid.values()]) if (!isOptedIn(namespace)) remove(uid)
    },
    /** Updates a pod that was read as a whole; undefined, or another pod with its name, means that it is gone. */
    confirm(known: Unlabelled, object: unknown) {
      const now = byUid.get(known.uid)
      const whole = project(object)
      if (now === undefined) return
      if (whole?.uid !== known.uid) return remove(known.uid)
      const { ip, hasSidecar, startsAlone, gateSince, asks } = whole
      // Containers cannot change, but the status may have changed since the pod was read.
      const isConfirmed = now === known || !hasSidecar
      byUid.set(now.uid, {
        ...now,
        ip,
        hasSidecar,
        startsAlone,
        gateSince,
        asks,
        isConfirmed,
        isExcused: now.asks && !asks,
      })
    },
    /** For pods of one namespace, or of all. */
    sink: (namespace?: string): Sink<Unlabelled> => ({
      project,
      begin() {
        leftOut = tally()
      },
      keep: (pod, kept) => {
        if (!isRelevant(pod)) return false
        if (kept >= max) leftOut.set(pod.uid, '')
        return kept < max
      },
      replace(all) {
        const uids = new Set(all.map(({ uid }) => uid))
        const isHere = (pod: Unlabelled) => namespace === undefined || pod.namespace === namespace
        for (const pod of [...byUid.values()]) if (isHere(pod) && !uids.has(pod.uid)) remove(pod.uid)
        for (const pod of all) upsert(pod)
      },
      upsert,
      remove: ({ uid }) => remove(uid),
      wantsRelist: () => leftOut.size() > 0 && 2 * byUid.size < max,
    }),
  }
}

/** Applies an update to a pod that was read as a whole: what cannot change is kept, and its gate is read again. */
function merged(known: Unlabelled, news: Unlabelled): Unlabelled {
  if (!known.isConfirmed) return { ...news, hasSidecar: known.hasSidecar || news.hasSidecar }
  const { ip, hasSidecar, startsAlone, gateSince, isExcused } = known
  const asks = news.asks && !isExcused
  return { ...news, ip, hasSidecar, startsAlone, gateSince, asks, isExcused, isConfirmed: !hasSidecar }
}
