/** When to ask the broker again: pure arithmetic. */
import { backoff } from '../../common/backoff.ts'
import type { Outcome } from '../broker/outcome.ts'
import type { Credentials } from './credentials.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND

/**
 * After a success: at half of the lifetime, up to a tenth of it earlier, so that the pods of a node do not ask
 * together and never less than half is left (botocore rewrites the expiry of what has under 25 minutes).
 *
 * @param wall wall clock, milliseconds
 * @param random from 0 to 1
 * @returns milliseconds to wait
 */
export function refreshDelay({ lastUpdated, expiration }: Credentials, wall: number, random: number): number {
  // What was issued in the future was not: the clock was set back since, and nothing lives longer for that.
  const now = Math.max(wall, lastUpdated)
  const remaining = expiration - now
  const life = Math.min(Math.max(expiration - lastUpdated, remaining), 12 * 60 * MINUTE)
  const due = expiration - life / 2 - (life / 10) * random
  // What came was already past its half: the broker has nothing newer yet.
  const soonest = (life / 30) * (1 + random / 2)
  return Math.max(due - now, Math.min(soonest, remaining / 2))
}

type Backoff = { readonly base: number; readonly cap: number; readonly maxRetryAfter: number }

const BACKOFF = {
  /** Nothing to hand out: an application is waiting for its start, and the broker is on this node. */
  waiting: { base: 100, cap: 5 * SECOND, maxRetryAfter: 15 * SECOND },
  /** There are valid credentials: half an hour is left to get new ones. */
  stable: { base: SECOND, cap: 30 * SECOND, maxRetryAfter: MINUTE },
  /** A person has to change something; the broker's own negative cache spares STS. */
  refused: { base: 5 * SECOND, cap: 5 * MINUTE, maxRetryAfter: 5 * MINUTE },
  /** No role: only a new default role of the namespace changes that. */
  none: { base: MINUTE, cap: 5 * MINUTE, maxRetryAfter: 5 * MINUTE },
} as const satisfies Record<string, Backoff>

/**
 * After anything but credentials: exponential with jitter, by class; a `Retry-After` is honoured up to a bound.
 *
 * @param failures how many answers of this kind came in a row, from 1
 * @param holding whether the store has valid credentials
 * @param random from 0 to 1
 * @returns milliseconds to wait
 */
export function retryDelay(
  outcome: Exclude<Outcome, { kind: 'credentials' }>,
  failures: number,
  holding: boolean,
  random: number,
): number {
  const kind = outcome.kind === 'retry' ? (holding ? 'stable' : 'waiting') : outcome.kind
  const { maxRetryAfter, ...bounds } = BACKOFF[kind]
  const asked = outcome.kind === 'none' ? 0 : (outcome.retryAfter ?? 0)
  return Math.max(
    backoff(failures, bounds, () => random),
    Math.min(asked, maxRetryAfter),
  )
}
