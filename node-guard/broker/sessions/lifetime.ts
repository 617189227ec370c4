/** How long a session is still valid, and its dates by the node's current clock. */
import type { SteadyClock } from '../../../common/clock.ts'
import type { Session } from '../aws/sts-client.ts'

/** A session, with its dates according to the node's clock at the time when the session is handed out. */
export type Issued = Session & { readonly issuedAt: number }

/** A session as it is stored: with the time of the monotonic clock at which it was issued. */
export type StoredSession = { readonly issued: Issued; readonly at: number }

/** The two clocks drift apart by milliseconds an hour; more than this is a step. */
const STEP_MS = 5000

const lifetimeOf = ({ issuedAt, expiration }: Issued) => expiration - issuedAt

/** Milliseconds until the session expires, by the more pessimistic of two clocks, as in the sidecar's store: setting a clock back extends no session. */
export const remainingLife = ({ issued, at }: StoredSession, clock: SteadyClock): number =>
  Math.min(issued.expiration - clock.now(), at + lifetimeOf(issued) - clock.monotonic())

/** A session with less left is not handed out. */
const MIN_LEFT_MS = 60_000

/** The session if enough of its lifetime is left to hand it out, else undefined. */
export const ifUsable = (held: StoredSession | undefined, clock: SteadyClock): StoredSession | undefined =>
  held && remainingLife(held, clock) > MIN_LEFT_MS ? held : undefined

/** Whether at most half of the lifetime is left. */
export const isPastHalf = (held: StoredSession, clock: SteadyClock): boolean =>
  remainingLife(held, clock) <= lifetimeOf(held.issued) / 2

/** Whether less than a third of the lifetime is left, 20 minutes of an hour: it should have been renewed at half. */
export const isOverdue = (held: StoredSession, clock: SteadyClock): boolean =>
  remainingLife(held, clock) < lifetimeOf(held.issued) / 3

/**
 * The session with its dates converted to the node's current clock. If that was set back, the earlier dates would promise the lifetime of
 * a new session to a sidecar that has not seen this one yet, and to SDKs, which use the same clock.
 */
export function withCurrentDates(held: StoredSession, clock: SteadyClock): Issued {
  const { issued } = held
  const early = issued.expiration - clock.now() - remainingLife(held, clock)
  if (early < STEP_MS) return issued
  return { ...issued, issuedAt: issued.issuedAt - early, expiration: issued.expiration - early }
}

/**
 * Milliseconds until the renewal: a little before half of the lifetime, with jitter, since sidecars ask at half and then find the new session.
 * Half leaves 30 minutes, more than any SDK expects credentials to have left (botocore: 25).
 *
 * Sessions that are not planned renewals may all have been issued at the same time, as after the start of a cluster or an outage: their
 * renewals are spread over a third of the lifetime, once, so that they do not coincide for hours.
 *
 * @param inTurn whether the session is itself a renewal that came when it was planned
 */
export function renewalDelay(issued: Issued, inTurn: boolean): number {
  const [earliest, spread] = inTurn ? [0.4, 0.08] : [0.15, 0.33]
  return lifetimeOf(issued) * (earliest + spread * Math.random())
}
