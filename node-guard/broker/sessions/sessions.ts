/**
 * The sessions of this node's pods: one per cache key, fetched once however many ask, renewed at half of its life,
 * gone with its pod or its permission.
 */
import type { SteadyClock } from '../../../common/clock.ts'
import type { WebIdentityToken } from '../authenticate/web-identity.ts'
import { withdrawn } from '../aws/withdrawn.ts'
import { Entries, type Entry, type Grant } from './entries.ts'
import { type FetchDeps, Fetcher } from './fetcher.ts'
import { again, within } from './flight.ts'
import { dated, type Issued, isOverdue, isPastHalf, usable } from './life.ts'

export type Sessions = {
  /**
   * The session for a grant, from the cache or from STS.
   *
   * @param webIdentity the pod's token, for a grant by web identity
   * @throws {Problem}
   */
  readonly get: (grant: Grant, webIdentity?: WebIdentityToken) => Promise<Issued>
  /** Fetches what will be asked for, after everything that is; not at all when too much of that kind is held. */
  readonly warm: (grant: Grant) => void
  /** A pod is gone, and with it the sessions that no other pod uses, including those that are being fetched. */
  readonly dropPod: (uid: string) => void
  /** Judges again the grants that a change concerns; those that no longer hold are dropped. */
  readonly review: (concerns: (grant: Grant) => boolean) => void
  readonly size: () => number
  /** Milliseconds; undefined when there is none. */
  readonly soonestExpiry: () => number | undefined
  /** Sessions that are asked for and should have been renewed long ago; also those that have lapsed since. */
  readonly overdue: () => number
}

/** Waiting for STS: a sidecar's patience. The call itself goes on and fills the cache. */
const MAX_WAIT_MS = 8000
/** Waiting for a renewal while there is a session to hand out. */
const MAX_RENEWAL_WAIT_MS = 1500
/** Maximum number of sessions that were not requested yet: the kubelet's largest common limit on pods per node. */
const MAX_WARM = 250

export type SessionsDeps = FetchDeps & {
  readonly scope: 'pod' | 'role'
  /** Whether a grant is still valid with the current state of pod, namespace and node. */
  readonly holds: (grant: Grant) => boolean
  /** Its end drops all sessions. */
  readonly signal: AbortSignal
  readonly on: { readonly cache: (outcome: 'hit' | 'miss' | 'negative' | 'stale') => void }
}

export function sessionStore(deps: SessionsDeps): Sessions {
  const { scope, queue, clock, signal, holds, on } = deps
  const entries = new Entries(scope, holds)
  const fetcher = new Fetcher(entries, deps)
  const { unasked } = entries
  signal.addEventListener('abort', () => {
    for (const entry of entries.all()) entries.drop(entry)
  })

  /** The entry of a grant that is requested. */
  const asked = (grant: Grant, webIdentity?: WebIdentityToken): Entry => {
    const entry = entries.join(grant)
    if (webIdentity) entry.webIdentity = webIdentity
    entry.wanted = true
    if (unasked.delete(entry) && entry.turn) queue.raise(entry.turn)
    return entry
  }

  return {
    get: async (grant, webIdentity) => {
      const entry = asked(grant, webIdentity)
      const held = usable(entry.session, clock)
      const session = held && dated(held, clock)
      if (session && !isPastHalf(held, clock)) {
        on.cache('hit')
        return session
      }
      const { failure } = entry
      const now = clock.monotonic()
      if (failure && now < failure.until) {
        on.cache(session ? 'stale' : 'negative')
        if (session) return session
        throw again(failure.problem, failure.until - now)
      }
      on.cache(session ? 'stale' : 'miss')
      const flight = fetcher.fetch(entry, grant)
      const wait = session ? MAX_RENEWAL_WAIT_MS : MAX_WAIT_MS
      const fresh = await within(flight, wait, clock, session, () => entry.failure?.problem)
      if (!holds(grant)) throw withdrawn()
      entry.wanted = true
      return fresh
    },
    warm: (grant) => {
      // By web identity nothing can be fetched before the sidecar sends the pod's token.
      if (grant.request.webIdentity) return
      if (unasked.size >= MAX_WARM || !entries.hasRoomFor(grant)) return
      const entry = entries.join(grant)
      unasked.add(entry)
      fetcher.fetch(entry, grant).catch(() => {
        // Neither refused nor granted: its turn did not come.
        if (unasked.has(entry) && !entry.failure) entries.drop(entry)
      })
    },
    dropPod: (uid) => entries.dropPod(uid),
    review: (concerns) => entries.review(concerns),
    size: () => entries.size,
    soonestExpiry: () => soonestExpiry(entries, clock),
    overdue: () => entries.all().filter((entry) => isNotRenewed(entry, clock)).length,
  }
}

function soonestExpiry(entries: Entries, clock: SteadyClock): number | undefined {
  const ends = entries.all().flatMap(({ session }) => (session ? dated(session, clock).expiration : []))
  return ends.length === 0 ? undefined : Math.min(...ends)
}

/** Whether it is in use and should have been renewed long ago. */
function isNotRenewed({ session, wanted, remembered }: Entry, clock: SteadyClock): boolean {
  return session !== undefined && (wanted || remembered) && isOverdue(session, clock)
}
