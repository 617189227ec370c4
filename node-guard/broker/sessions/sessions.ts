/**
 * The sessions of this node's pods: one per cache key, fetched once however many ask, renewed at half of its life,
 * gone with its pod or its permission.
 */

import { backoff } from '../../../common/backoff.ts'
import type { SteadyClock } from '../../../common/clock.ts'
import { Problem } from '../../../common/protocol.ts'
import type { SessionRequest } from '../authorize/entitle.ts'
import type { Assume } from '../aws/assume.ts'
import { classifyStsError, type StsFailure } from '../aws/classify.ts'
import type { Session } from '../aws/sts-client.ts'
import { again, withdrawn, within } from './flight.ts'
import { dated, type Held, type Issued, isOverdue, isPastHalf, left, renewalDelay } from './life.ts'
import type { Priority, StsQueue, Turn } from './queue.ts'

/** A pod's claim to a session, judged at the time it was made. */
export type Grant = {
  readonly pod: { readonly uid: string; readonly namespace: string; readonly name: string }
  readonly request: SessionRequest
}

export type Sessions = {
  /** The session for a grant, from the cache or from STS. @throws {Problem} */
  readonly get: (grant: Grant) => Promise<Issued>
  /** Fetches what will be asked for, after everything that is; not at all when too much of that kind is held. */
  readonly warm: (grant: Grant) => void
  /** A pod is gone: so are the sessions nobody else uses, also those on their way. */
  readonly dropPod: (uid: string) => void
  /** Judges again the grants that a change concerns; those that no longer hold are dropped. */
  readonly review: (concerns: (grant: Grant) => boolean) => void
  readonly size: () => number
  /** Milliseconds; undefined when there is none. */
  readonly soonestExpiry: () => number | undefined
  /** Sessions that are asked for and should have been renewed long ago; also those that have lapsed since. */
  readonly overdue: () => number
  readonly stop: () => void
}

type Entry = {
  readonly key: string
  readonly request: SessionRequest
  /** By pod uid; several under `--session-scope=role`. */
  readonly grants: Map<string, Grant>
  session?: Held
  /** `until` is of a clock that nobody sets. */
  failure?: { readonly problem: Problem; readonly until: number; readonly count: number }
  flight?: Promise<Issued>
  turn?: Turn
  /** Handed out since it was issued: a session nobody fetches is not renewed. */
  wanted: boolean
  /** It has lapsed and was asked for since the last time that was looked at. */
  remembered: boolean
  dropped: boolean
  cancelTimer: () => void
}

/** Waiting for STS: a sidecar's patience. The call itself goes on and fills the cache. */
const WAIT_MS = 8000
/** Waiting for a renewal while there is a session to hand out. */
const RENEWAL_WAIT_MS = 1500
/** A session with less left is not handed out. */
const LEAST_LEFT_MS = 60_000
/** A pod whose session has lapsed is known to be running, and comes before starting ones, while it asks this often. */
const LAPSED_MS = 120_000
const MAX_ENTRIES = 4096
/** Sessions nobody has asked for yet: the kubelet's largest common limit of pods on a node. */
const MAX_WARM = 250

/** Milliseconds between tries, by class of failure (reference: imds-and-sts, table 6.5). */
const BACKOFF: Record<StsFailure, { readonly base: number; readonly cap: number }> = {
  // Soon at first: a role is often made together with its pods, and IAM takes seconds to know it everywhere.
  denied: { base: 5000, cap: 300_000 },
  invalid: { base: 300_000, cap: 300_000 },
  chaining: { base: 300_000, cap: 300_000 },
  // The pace of the node (`pace.ts`) is the longer brake.
  throttled: { base: 1000, cap: 10_000 },
  'node-credentials': { base: 1000, cap: 60_000 },
  unavailable: { base: 1000, cap: 60_000 },
}

export type SessionsOptions = {
  readonly scope: 'pod' | 'role'
  readonly assume: Assume
  readonly queue: StsQueue
  readonly clock: SteadyClock
  /** Whether a grant still holds, as pod, namespace and node are now. */
  readonly holds: (grant: Grant) => boolean
  readonly explain: (
    failure: StsFailure,
    thrown: unknown,
    context: { request: SessionRequest; retryAfter: number },
  ) => Problem
  readonly on: {
    readonly issued: (grant: Grant, session: Issued, priority: Priority) => void
    readonly failed: (grant: Grant, problem: Problem) => void
    readonly cache: (outcome: 'hit' | 'miss' | 'negative' | 'stale') => void
  }
}

export function sessionStore(options: SessionsOptions): Sessions {
  const { scope, assume, queue, clock, holds, explain, on } = options
  const entries = new Map<string, Entry>()
  const unasked = new Set<Entry>()

  const entryOf = (grant: Grant): Entry => {
    const key = sessionKey(grant, scope)
    const known = entries.get(key)
    if (known) return known
    if (entries.size >= MAX_ENTRIES)
      throw new Problem('busy', `this node’s broker already holds ${MAX_ENTRIES} sessions; retry`, {
        retryAfter: 30,
      })
    const entry: Entry = {
      key,
      request: grant.request,
      grants: new Map(),
      wanted: false,
      remembered: false,
      dropped: false,
      cancelTimer: () => {},
    }
    entries.set(key, entry)
    return entry
  }

  const drop = (entry: Entry) => {
    entry.dropped = true
    entry.cancelTimer()
    unasked.delete(entry)
    entries.delete(entry.key)
  }

  /** Removes what no longer holds; true when nobody is left. */
  const prune = (entry: Entry): boolean => {
    for (const [uid, grant] of entry.grants) if (!holds(grant)) entry.grants.delete(uid)
    if (entry.grants.size > 0) return false
    drop(entry)
    return true
  }

  const usable = ({ session }: Entry): Held | undefined =>
    session && left(session, clock) > LEAST_LEFT_MS ? session : undefined

  /** Asks STS once, whoever waits; the flight belongs to no request. */
  const fetch = (entry: Entry, grant: Grant): Promise<Issued> => {
    if (entry.flight) return entry.flight
    const had = entry.session && (usable(entry) ? 'renewal' : 'lapsed')
    const reason = (): Priority => had ?? (unasked.has(entry) ? 'warm-up' : 'first')
    const turn = { namespace: grant.pod.namespace, priority: reason() }
    entry.turn = turn
    const flight = queue
      .run(turn, async () => {
        // Permission may have been withdrawn in the queue.
        if (entry.dropped || prune(entry)) throw withdrawn()
        const session = await assume(entry.request, () => !entry.dropped)
        if (entry.dropped) throw withdrawn()
        return settle(entry, grant, session, reason())
      })
      .catch((error) => {
        throw fail(entry, grant, error)
      })
      .finally(() => {
        delete entry.flight
        delete entry.turn
      })
    // Nobody may be waiting any more.
    flight.catch(() => {})
    entry.flight = flight
    return flight
  }

  const settle = (entry: Entry, grant: Grant, session: Session, priority: Priority): Issued => {
    const issued = { ...session, issuedAt: clock.now() }
    const inTurn = priority === 'renewal' && !entry.failure
    entry.session = { issued, at: clock.monotonic() }
    delete entry.failure
    entry.wanted = false
    on.issued(grant, issued, priority)
    schedule(entry, renewalDelay(issued, inTurn))
    return issued
  }

  const fail = (entry: Entry, grant: Grant, error: unknown): Problem => {
    if (error instanceof Problem) return error
    const failure = classifyStsError(error)
    const count = (entry.failure?.count ?? 0) + 1
    const delay = backoff(count, BACKOFF[failure])
    const problem = explain(failure, error, {
      request: entry.request,
      retryAfter: Math.ceil(delay / 1000),
    })
    entry.failure = { problem, until: clock.monotonic() + delay, count }
    on.failed(grant, problem)
    // With a session in hand the next try is ours; without, it is the next request's.
    schedule(entry, entry.session ? delay : Math.max(delay * 2, 600_000))
    return problem
  }

  const schedule = (entry: Entry, delay: number) => {
    entry.cancelTimer()
    if (!entry.dropped) entry.cancelTimer = clock.after(delay, () => wake(entry))
  }

  /** Renews what is in use; lets go of what nobody asked for. */
  const wake = (entry: Entry) => {
    if (entry.dropped || prune(entry)) return
    const [grant] = entry.grants.values()
    const { session } = entry
    if (session && entry.wanted && grant) {
      // One that has lapsed is fetched for as long as somebody asks.
      if (!usable(entry)) {
        entry.wanted = false
        entry.remembered = true
      }
      void fetch(entry, grant)
    } else if (session && usable(entry)) schedule(entry, left(session, clock))
    else if (entry.remembered) {
      entry.remembered = false
      schedule(entry, LAPSED_MS)
    } else drop(entry)
  }

  const warm = (grant: Grant): void => {
    if (unasked.size >= MAX_WARM || entries.size >= MAX_ENTRIES || entries.has(sessionKey(grant, scope)))
      return
    const entry = entryOf(grant)
    entry.grants.set(grant.pod.uid, grant)
    unasked.add(entry)
    fetch(entry, grant).catch(() => {
      // Neither refused nor granted: its turn did not come.
      if (unasked.has(entry) && !entry.failure) drop(entry)
    })
  }

  /** The entry of a grant that somebody asks for, made where there is none. */
  const asked = (grant: Grant): Entry => {
    const entry = entryOf(grant)
    entry.grants.set(grant.pod.uid, grant)
    entry.wanted = true
    if (unasked.delete(entry) && entry.turn) queue.raise(entry.turn)
    return entry
  }

  const get = async (grant: Grant): Promise<Issued> => {
    const entry = asked(grant)
    const held = usable(entry)
    const session = held && dated(held, clock)
    if (session && !isPastHalf(held, clock)) {
      on.cache('hit')
      return session
    }
    const now = clock.monotonic()
    if (entry.failure && now < entry.failure.until) {
      on.cache(session ? 'stale' : 'negative')
      if (session) return session
      throw again(entry.failure.problem, entry.failure.until - now)
    }
    on.cache(session ? 'stale' : 'miss')
    const flight = fetch(entry, grant)
    const fresh = await within(
      flight,
      session ? RENEWAL_WAIT_MS : WAIT_MS,
      clock,
      session,
      () => entry.failure?.problem,
    )
    if (!holds(grant)) throw withdrawn()
    entry.wanted = true
    return fresh
  }

  return {
    get,
    warm,
    dropPod: (uid) => {
      for (const entry of [...entries.values()])
        if (entry.grants.delete(uid) && entry.grants.size === 0) drop(entry)
    },
    review: (concerns) => {
      for (const entry of [...entries.values()]) if ([...entry.grants.values()].some(concerns)) prune(entry)
    },
    size: () => entries.size,
    soonestExpiry: () => {
      const times = [...entries.values()].map(({ session }) =>
        session ? dated(session, clock).expiration : Number.POSITIVE_INFINITY,
      )
      const soonest = Math.min(Number.POSITIVE_INFINITY, ...times)
      return Number.isFinite(soonest) ? soonest : undefined
    },
    overdue: () =>
      [...entries.values()].filter(
        ({ session, wanted, remembered }) =>
          session !== undefined && (wanted || remembered) && isOverdue(session, clock),
      ).length,
    stop: () => {
      for (const entry of [...entries.values()]) drop(entry)
    },
  }
}

/** Two grants share a session only when everything STS is asked for is the same and, by default, the pod too. */
export function sessionKey({ pod, request }: Grant, scope: 'pod' | 'role'): string {
  const { roleArn, externalId, sessionName, tags, durationSeconds } = request
  const owner = scope === 'pod' ? pod.uid : null
  return JSON.stringify([owner, roleArn, externalId ?? null, sessionName, tags, durationSeconds])
}
