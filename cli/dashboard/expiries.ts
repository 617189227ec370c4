/** When credentials expire, by the sidecars' own word: each is asked now and then, so many in one look. */
import type { V1Pod } from '@kubernetes/client-node'
import type { Holder } from '../who/holders.ts'

/** Each is a connection through the API server and a kubelet. */
const ASKED_IN_ONE_LOOK = 50
/** Credentials live for fifteen minutes and more. */
const KNOWN_FOR_MS = 60_000

type Known = Pick<Holder, 'expires' | 'ready' | 'isAsked'> & { readonly askedAt: number }

export type Expiries = {
  /** Which of these pods are to be asked now: those never asked first, then those asked longest ago. */
  readonly due: (pods: readonly V1Pod[], now: number) => ReadonlySet<V1Pod>
  /** What is known of a pod that was not asked in this look. */
  readonly recall: (holder: Holder) => Holder
  /** Remembers answers, and forgets pods that are not among them any more. */
  readonly remember: (asked: readonly Holder[], others: readonly Holder[], now: number) => void
}

export function expiries(): Expiries {
  let known = new Map<string, Known>()
  return {
    due(pods, now) {
      const askedAt = (pod: V1Pod) => known.get(keyOf(pod))?.askedAt ?? Number.NEGATIVE_INFINITY
      const due = pods.filter((pod) => now - askedAt(pod) >= KNOWN_FOR_MS)
      return new Set(due.toSorted((one, other) => askedAt(one) - askedAt(other)).slice(0, ASKED_IN_ONE_LOOK))
    },
    recall(holder) {
      const before = known.get(`${holder.namespace}/${holder.pod}`)
      // One that expired since then has been renewed, or has none: nobody knows until it is asked again.
      return before?.isAsked
        ? { ...holder, expires: before.expires, ready: before.ready, isAsked: true }
        : holder
    },
    remember(asked, others, now) {
      const next = new Map<string, Known>()
      for (const { namespace, pod } of others) {
        const before = known.get(`${namespace}/${pod}`)
        if (before !== undefined) next.set(`${namespace}/${pod}`, before)
      }
      // One that is not ready yet is asked in the next look.
      for (const { namespace, pod, expires, ready, isAsked } of asked)
        if (ready || isAsked)
          next.set(`${namespace}/${pod}`, { expires, ready, isAsked, askedAt: ready ? now : 0 })
      known = next
    },
  }
}

const keyOf = ({ metadata }: V1Pod) => `${metadata?.namespace}/${metadata?.name}`
