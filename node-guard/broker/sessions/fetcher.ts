/** Fetches sessions from STS: with one call however many requests wait, renewed before they expire, retried after a failure. */
import { backoff } from '../../../common/backoff.ts'
import type { SteadyClock } from '../../../common/clock.ts'
import { Problem } from '../../../common/protocol.ts'
import type { SessionRequest } from '../authorize/entitlement.ts'
import { type Assume, withdrawn } from '../aws/assume.ts'
import { classifierFor, type StsFailure } from '../aws/classify.ts'
import { accountOf } from '../aws/explain.ts'
import type { Session } from '../aws/sts-client.ts'
import type { Entries, Entry, Grant } from './entries.ts'
import { type Issued, ifUsable, remainingLife, renewalDelay } from './lifetime.ts'
import type { Priority, StsQueue } from './sts-queue.ts'

/** A pod whose session has expired is known to be running, and comes before starting ones, as long as it asks at least this often. */
const LAPSED_MS = 120_000
/** How long a failure without a session is remembered at least. The next request makes the next try. */
const FORGET_MS = 600_000

/** Milliseconds between tries, by class of failure. */
const BACKOFF: Record<StsFailure, { readonly base: number; readonly cap: number }> = {
  // Soon at first: a role is often made together with its pods, and IAM takes seconds to know it everywhere.
  denied: { base: 5000, cap: 300_000 },
  invalid: { base: 300_000, cap: 300_000 },
  chaining: { base: 300_000, cap: 300_000 },
  // The node's rate of calls (`adaptive-rate.ts`) has the longer effect.
  throttled: { base: 1000, cap: 10_000 },
  'node-credentials': { base: 1000, cap: 60_000 },
  unavailable: { base: 1000, cap: 60_000 },
}

export type FetchDeps = {
  readonly assume: Assume
  readonly queue: StsQueue
  readonly clock: SteadyClock
  readonly explain: (
    failure: StsFailure,
    thrown: unknown,
    context: { request: SessionRequest; retryAfter: number },
  ) => Problem
  readonly on: {
    readonly issued: (grant: Grant, session: Issued, priority: Priority) => void
    readonly failed: (grant: Grant, problem: Problem) => void
  }
}

export class Fetcher {
  readonly #entries: Entries
  readonly #deps: FetchDeps

  constructor(entries: Entries, deps: FetchDeps) {
    this.#entries = entries
    this.#deps = deps
  }

  /** Calls STS, or joins the call under way, which continues whether or not anybody waits. @throws {Problem} */
  fetch(entry: Entry, grant: Grant): Promise<Issued> {
    if (entry.flight !== undefined) return entry.flight
    const { queue, assume, clock } = this.#deps
    const had = entry.session && (ifUsable(entry.session, clock) ? 'renewal' : 'lapsed')
    const reason = (): Priority => had ?? (this.#entries.unrequested.has(entry) ? 'warm-up' : 'first')
    const { request } = entry
    const turn = {
      ...{ namespace: grant.pod.namespace, priority: reason() },
      ...(request.webIdentity ? { webIdentity: { account: accountOf(request) } } : {}),
    }
    entry.turn = turn
    const flight = queue
      .run(turn, async () => {
        // Permission may have been withdrawn in the queue.
        if (entry.dropped || this.#entries.prune(entry)) throw withdrawn()
        const session = await assume(entry.request, () => !entry.dropped, entry.webIdentity)
        if (entry.dropped) throw withdrawn()
        return this.#settle(entry, grant, session, reason())
      })
      .catch((error) => {
        throw this.#fail(entry, grant, error)
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

  #settle(entry: Entry, grant: Grant, session: Session, priority: Priority): Issued {
    const { clock, on } = this.#deps
    const issued = { ...session, issuedAt: clock.now() }
    const inTurn = priority === 'renewal' && !entry.failure
    const held = { issued, at: clock.monotonic() }
    // Thrown like an error of STS, so that it is asked again only after a pause.
    if (!ifUsable(held, clock))
      throw new Error(
        `the session that it issued ends at ${new Date(session.expiration).toISOString()}, less than a minute from now or earlier: compare the clock of the node with AWS’s`,
      )
    entry.session = held
    delete entry.failure
    entry.wanted = false
    on.issued(grant, issued, priority)
    this.#schedule(entry, renewalDelay(issued, inTurn))
    return issued
  }

  #fail(entry: Entry, grant: Grant, error: unknown): Problem {
    if (error instanceof Problem) return error
    const { clock, explain, on } = this.#deps
    const failure = classifierFor(entry.request)(error)
    const count = (entry.failure?.count ?? 0) + 1
    const delay = backoff(count, BACKOFF[failure])
    const context = { request: entry.request, retryAfter: Math.ceil(delay / 1000) }
    const problem = explain(failure, error, context)
    entry.failure = { problem, until: clock.monotonic() + delay, count }
    on.failed(grant, problem)
    // With a stored session the timer makes the next try; without one, the next request does.
    this.#schedule(entry, entry.session ? delay : Math.max(delay * 2, FORGET_MS))
    return problem
  }

  #schedule(entry: Entry, delay: number): void {
    entry.cancelTimer()
    if (!entry.dropped) entry.cancelTimer = this.#deps.clock.after(delay, () => this.#wake(entry))
  }

  /** By web identity, STS can only be called with a token that has not expired; the sidecar sends a new one with its next request. */
  #canAsk({ request, webIdentity }: Entry): boolean {
    return !request.webIdentity || (webIdentity?.expiresAt ?? 0) > this.#deps.clock.now()
  }

  /** Renews sessions that are in use, and drops those that were not requested. */
  #wake(entry: Entry): void {
    if (entry.dropped || this.#entries.prune(entry)) return
    const { clock } = this.#deps
    const [grant] = entry.grants.values()
    const { session } = entry
    if (session && entry.wanted && grant && this.#canAsk(entry)) {
      // An expired session is fetched as long as it is requested.
      if (!ifUsable(session, clock)) {
        entry.wanted = false
        entry.remembered = true
      }
      void this.fetch(entry, grant)
    } else if (session && ifUsable(session, clock)) this.#schedule(entry, remainingLife(session, clock))
    else if (entry.remembered) {
      entry.remembered = false
      this.#schedule(entry, LAPSED_MS)
    } else this.#entries.drop(entry)
  }
}
