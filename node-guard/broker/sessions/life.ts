/** How long a session is still valid, and its dates according to the node's current clock. */
import type { SteadyClock } from '../../../common/clock.ts'
import type { Session } from '../aws/sts-client.ts'

/** A session, with its dates according to the node's clock at the time when the session is handed out. */
export type Issued = Session & { readonly issuedAt: number }

/** A session as it is stored: with the time of the monotonic clock at which it was issued. */
export type Held = { readonly issued: Issued; readonly at: number }

/** The two clocks drift apart by milliseconds an hour; more than this is a step. */
const STEP_MS = 5000

const lifeOf = ({ issuedAt, expiration }: Issued) => expiration - issuedAt

/** Milliseconds of life left, by the more pessimistic of two clocks, as in the sidecar's store: nothing lives longer because a clock is set back. */
export const left = ({ issued, at }: Held, clock: SteadyClock): number =>
  Math.min(issued.expiration - clock.now(), at + lifeOf(issued) - clock.monotonic())

/** A session with less left is not handed out. */
const MIN_LEFT_MS = 60_000

/** The session if it may be handed out, as far as its life goes. */
export const usable = (held: Held | undefined, clock: SteadyClock): Held | undefined =>
  held && left(held, clock) > MIN_LEFT_MS ? held : undefined

/** Less than half of the life is left. */
export const isPastHalf = (held: Held, clock: SteadyClock): boolean =>
  left(held, clock) <= lifeOf(held.issued) / 2

/** Less than a third of the life is left, 20 minutes of an hour: it should have been renewed at half. */
export const isOverdue = (held: Held, clock: SteadyClock): boolean =>
  left(held, clock) < lifeOf(held.issued) / 3

/**
 * The session with its dates as the node's clock has them now. Where that was set back, the dates of before would promise the life of
 * a new session, to a sidecar that has not seen this one yet, and to SDKs, which go by the same clock.
 */
export function dated(held: Held, clock: SteadyClock): Issued {
  const { issued } = held
  const early = issued.expiration - clock.now() - left(held, clock)
  if (early < STEP_MS) return issued
  return { ...issued, issuedAt: issued.issuedAt - early, expiration: issued.expiration - early }
}

/**
 * A little before half of the life, spread: sidecars ask at half, and then find the new one. Half leaves 30 minutes, more than any
 * SDK wants to see on credentials it is handed (botocore: 25).
 *
 * Sessions that were not renewed in their turn may all be of one moment, as after the start of a cluster or an outage: they are
 * spread over a third of the life, once, so that their renewals do not come together again for hours.
 *
 * @param inTurn whether it is itself a renewal that came when it was planned
 */
export function renewalDelay(issued: Issued, inTurn: boolean): number {
  const [earliest, spread] = inTurn ? [0.4, 0.08] : [0.15, 0.33]
  return lifeOf(issued) * (earliest + spread * Math.random())
}
