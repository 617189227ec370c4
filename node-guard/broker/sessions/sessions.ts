/**
 * The sessions of this node's pods: one for each cache key, fetched once however many requests wait, renewed at half of its lifetime, and
 * dropped with its pod or its permission.
 */
import type { SteadyClock } from '../../../common/clock.ts'
import type { WebIdentityToken } from '../authenticate/web-identity.ts'
import { withdrawn } from '../aws/assume.ts'
import { Entries, type Entry, type Grant } from './entries.ts'
import { type FetchDeps, Fetcher } from './fetcher.ts'
import { outcomeWithin, withRemainingWait } from './flight.ts'
import { type Issued, ifUsable, isOverdue, isPastHalf, withCurrentDates } from './lifetime.ts'

export type Sessions = ReturnType<typeof sessionStore>

/** How long a request waits for STS: less than a sidecar does. The call itself continues and fills the cache. */
const MAX_WAIT_MS = 8000
/** How long a request waits for a renewal while there is a session to hand out. */
const MAX_RENEWAL_WAIT_MS = 1500
/** Maximum number of sessions that were not requested yet: the kubelet's largest common limit on pods per node. */
const MAX_WARM = 250

export type SessionsDeps = FetchDeps & {
  readonly scope: 'pod' | 'role'
  /** Whether a grant is still valid with the current state of pod, namespace and node. */
  readonly isStillValid: (grant: Grant) => boolean
  /** Its end drops all sessions. */
  readonly signal: AbortSignal
  readonly on: { readonly cache: (outcome: 'hit' | 'miss' | 'negative' | 'stale') => void }
}

export function sessionStore(deps: SessionsDeps) {
  const { scope, queue, clock, signal, isStillValid, on } = deps
  const entries = new Entries(scope, isStillValid)
  const fetcher = new Fetcher(entries, deps)
  const { unrequested } = entries
  signal.addEventListener('abort', () => {
    for (const entry of entries.all()) entries.drop(entry)
  })

  /** The entry of a grant that is requested. */
  const requestedEntry = (grant: Grant, webIdentity?: WebIdentityToken): Entry => {
    const entry = entries.join(grant)
    if (webIdentity) entry.webIdentity = webIdentity
    entry.wanted = true
    if (unrequested.delete(entry) && entry.turn) queue.raise(entry.turn)
    return entry
  }

  return {
    /**
     * The session for a grant, from the cache or from STS.
     *
     * @param webIdentity the pod's token, for a grant by web identity
     * @throws {Problem}
     */
    get: async (grant: Grant, webIdentity?: WebIdentityToken): Promise<Issued> => {
      const entry = requestedEntry(grant, webIdentity)
      const held = ifUsable(entry.session, clock)
      const session = held && withCurrentDates(held, clock)
      if (session && !isPastHalf(held, clock)) {
        on.cache('hit')
        return session
      }
      const { failure } = entry
      const now = clock.monotonic()
      if (failure && now < failure.until) {
        on.cache(session ? 'stale' : 'negative')
        if (session) return session
        throw withRemainingWait(failure.problem, failure.until - now)
      }
      on.cache(session ? 'stale' : 'miss')
      const flight = fetcher.fetch(entry, grant)
      const wait = session ? MAX_RENEWAL_WAIT_MS : MAX_WAIT_MS
      const fresh = await outcomeWithin(flight, wait, clock, session, () => entry.failure?.problem)
      if (!isStillValid(grant)) throw withdrawn()
      entry.wanted = true
      return fresh
    },
    /** Fetches a session before it is requested, after all those that are; not if too many such sessions are stored. */
    warm: (grant: Grant) => {
      // By web identity nothing can be fetched before the sidecar sends the pod's token.
      if (grant.request.webIdentity) return
      if (unrequested.size >= MAX_WARM || !entries.hasRoomFor(grant)) return
      const entry = entries.join(grant)
      unrequested.add(entry)
      fetcher.fetch(entry, grant).catch(() => {
        // Neither refused nor granted: it never left the queue.
        if (unrequested.has(entry) && !entry.failure) entries.drop(entry)
      })
    },
    /** Drops the sessions of a pod that is gone, unless another pod shares them, including those that are being fetched. */
    dropPod: (uid: string) => entries.dropPod(uid),
    /** Checks the grants that a change concerns again, and drops those that are no longer valid. */
    review: (concerns: (grant: Grant) => boolean) => entries.review(concerns),
    size: () => entries.size,
    /** When the first session expires, milliseconds since 1970; undefined if there is none. */
    soonestExpiry: () => soonestExpiry(entries, clock),
    /** Number of requested sessions that should have been renewed long ago, including expired ones. */
    overdue: () => entries.all().filter((entry) => isNotRenewed(entry, clock)).length,
  }
}

function soonestExpiry(entries: Entries, clock: SteadyClock): number | undefined {
  const ends = entries
    .all()
    .flatMap(({ session }) => (session ? withCurrentDates(session, clock).expiration : []))
  return ends.length === 0 ? undefined : Math.min(...ends)
}

/** Whether it is in use and should have been renewed long ago. */
function isNotRenewed({ session, wanted, remembered }: Entry, clock: SteadyClock): boolean {
  return session !== undefined && (wanted || remembered) && isOverdue(session, clock)
}
