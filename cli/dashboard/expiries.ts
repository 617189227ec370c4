/** When credentials expire, as the sidecars report it: each is asked from time to time, and a limited number per update. */
import type { V1Pod } from '@kubernetes/client-node'
import type { Holder } from '../who/holders.ts'

/** Each costs a connection through the API server and a kubelet. */
const ASKED_IN_ONE_LOOK = 50
/** Credentials are valid for at least fifteen minutes. */
const KNOWN_FOR_MS = 60_000

type Known = Pick<Holder, 'expires' | 'ready' | 'isAsked'> & { readonly askedAt: number }

export type Expiries = {
  /** The pods to ask now: first those that were never asked, then those asked longest ago. */
  readonly due: (pods: readonly V1Pod[], now: number) => ReadonlySet<V1Pod>
  /** What is known about a pod that is not asked in this update. */
  readonly recall: (holder: Holder) => Holder
  /** Stores the answers, and forgets pods that no longer exist. */
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
      // Credentials that have expired since were renewed or lost; this is known only after the pod is asked again.
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
      // A pod that is not ready yet is asked again in the next update.
      for (const { namespace, pod, expires, ready, isAsked } of asked)
        if (ready || isAsked)
          next.set(`${namespace}/${pod}`, { expires, ready, isAsked, askedAt: ready ? now : 0 })
      known = next
    },
  }
}

const keyOf = ({ metadata }: V1Pod) => `${metadata?.namespace}/${metadata?.name}`
