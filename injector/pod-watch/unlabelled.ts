/**
 * Pods of opted-in namespaces without the label of those that were injected, of which the API server sends the metadata
 * alone: that says which ask for a role, not whether the sidecar is there all the same (somebody took the label away), nor
 * whether they are on the host network. Until they are read as a whole (confirm.ts) it is presumed.
 */
import type { Sink } from '../../common/kube/reflector.ts'
import { isLabelled, phaseOf, type WatchedPod, watchedPod } from './pod.ts'
import { MAX_KNOWN } from './pods.ts'
import { tally } from './tally.ts'

export type Unlabelled = WatchedPod & {
  /** Whether it was seen as a whole since it last changed in what matters here. */
  readonly isConfirmed: boolean
  /** Whether it could have no sidecar, though it asks. */
  readonly isExcused: boolean
}

export type UnlabelledPods = {
  /** Of all namespaces, or of one. */
  readonly sink: (namespace?: string) => Sink<Unlabelled>
  readonly all: () => Iterable<Unlabelled>
  readonly get: (uid: string) => Unlabelled | undefined
  /** What one of them turned out to be, read as a whole; undefined, or another of that name: it is gone. */
  readonly confirm: (known: Unlabelled, object: unknown) => void
  /** Forgets those of namespaces that are not opted in any more. */
  readonly forgetOthers: () => void
  readonly leftOut: () => number
}

/** @param isOptedIn whether a namespace is, now: of others nothing is kept */
export function unlabelledPods(
  roleKey: string,
  isOptedIn: (namespace: string) => boolean,
  onGone: (uid: string) => void = () => {},
  most = MAX_KNOWN,
): UnlabelledPods {
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
    if (known === undefined && byUid.size >= most) return leftOut.set(news.uid, '')
    leftOut.delete(news.uid)
    byUid.set(news.uid, known === undefined || news.isConfirmed ? news : merged(known, news))
  }
  return {
    all: () => byUid.values(),
    get: (uid) => byUid.get(uid),
    leftOut: () => leftOut.size() + leftOut.leftOut(),
    forgetOthers() {
      for (const { uid, namespace } of [...byUid.values()]) if (!isOptedIn(namespace)) remove(uid)
    },
    confirm(known, object) {
      const now = byUid.get(known.uid)
      const whole = project(object)
      if (now === undefined) return
      if (whole?.uid !== known.uid) return remove(known.uid)
      const { ip, hasSidecar, startsAlone, gateSince, asks } = whole
      // Whether a container is there cannot change. What its status says may have, since this was asked for.
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
    sink: (namespace) => ({
      project,
      begin() {
        leftOut = tally()
      },
      keep: (pod, kept) => {
        if (!isRelevant(pod)) return false
        if (kept >= most) leftOut.set(pod.uid, '')
        return kept < most
      },
      replace(all) {
        const uids = new Set(all.map(({ uid }) => uid))
        const isHere = (pod: Unlabelled) => namespace === undefined || pod.namespace === namespace
        for (const pod of [...byUid.values()]) if (isHere(pod) && !uids.has(pod.uid)) remove(pod.uid)
        for (const pod of all) upsert(pod)
      },
      upsert,
      remove: ({ uid }) => remove(uid),
      lacks: () => leftOut.size() > 0 && 2 * byUid.size < most,
    }),
  }
}

/** News of a pod that was read as a whole: what cannot change still holds, and its gate is looked at again. */
function merged(known: Unlabelled, news: Unlabelled): Unlabelled {
  if (!known.isConfirmed) return { ...news, hasSidecar: known.hasSidecar || news.hasSidecar }
  const { ip, hasSidecar, startsAlone, gateSince, isExcused } = known
  const asks = news.asks && !isExcused
  return { ...news, ip, hasSidecar, startsAlone, gateSince, asks, isExcused, isConfirmed: !hasSidecar }
}
