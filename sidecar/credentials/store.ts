/** What this pod may hand out right now. */

import type { SteadyClock } from '../../common/clock.ts'
import type { Outcome } from '../broker/outcome.ts'
import { type Credentials, MIN_LIFE_MS } from './credentials.ts'

/** What a request for credentials finds. */
export type View =
  | { readonly kind: 'valid'; readonly credentials: Credentials; readonly remaining: number }
  /** The broker refused; `at` is when, wall clock in milliseconds. */
  | { readonly kind: 'refused'; readonly code: string; readonly detail: string; readonly at: number }
  | { readonly kind: 'none' }
  | { readonly kind: 'unavailable'; readonly code: string; readonly detail: string }

/** The two clocks drift apart by milliseconds an hour; more than this is a step. */
const STEP_MS = 5000

type Held = { readonly credentials: Credentials; readonly received: number; readonly life: number }

/**
 * Holds the last credentials and the broker's last answer.
 *
 * Valid credentials are handed out whatever the broker has answered since (static stability): their session exists until it
 * expires. With less than a minute left they count as expired, since SDKs extend a short or past expiry by minutes.
 */
export class CredentialStore {
  readonly #clock: SteadyClock
  #held: Held | undefined
  #lastAnswer: Exclude<View, { kind: 'valid' }> = {
    kind: 'unavailable',
    code: 'starting',
    detail: 'The broker has not been asked yet.',
  }

  constructor(clock: SteadyClock) {
    this.#clock = clock
  }

  /** Records what the broker answered. */
  accept(outcome: Outcome): void {
    switch (outcome.kind) {
      case 'credentials': {
        const { credentials } = outcome
        // Credentials cannot be issued in the future: the clock was set back since.
        const stated = credentials.expiration - Math.max(this.#clock.now(), credentials.lastUpdated)
        // The same credentials given again have no new life, whatever the wall clock says now.
        const life = this.#holds(credentials) ? Math.min(stated, this.#byElapsed()) : stated
        this.#held = { credentials, received: this.#clock.monotonic(), life }
        this.#lastAnswer = EXPIRED
        return
      }
      case 'none':
        this.#lastAnswer = { kind: 'none' }
        return
      case 'refused':
        this.#lastAnswer = {
          kind: 'refused',
          code: outcome.code,
          detail: outcome.detail,
          at: this.#clock.now(),
        }
        return
      case 'retry':
        // A definitive answer counts until the next one: while the broker does not answer a refused pod stays refused.
        if (this.#lastAnswer.kind === 'unavailable')
          this.#lastAnswer = { kind: 'unavailable', code: outcome.code, detail: outcome.detail }
    }
  }

  /** What can be handed out now. */
  view(): View {
    const held = this.#held
    const remaining = this.remaining()
    return held !== undefined && remaining >= MIN_LIFE_MS
      ? { kind: 'valid', credentials: this.#dated(held.credentials, remaining), remaining }
      : this.#lastAnswer
  }

  /**
   * The credentials with their dates adjusted to the current wall clock: if that was set back, the original dates would let SDKs, which use
   * the same clock, use the credentials for longer than AWS accepts them.
   */
  #dated(credentials: Credentials, remaining: number): Credentials {
    const early = credentials.expiration - this.#clock.now() - remaining
    if (early < STEP_MS) return credentials
    const { lastUpdated, expiration } = credentials
    return { ...credentials, lastUpdated: lastUpdated - early, expiration: expiration - early }
  }

  /**
   * Milliseconds until the credentials expire, by the more pessimistic of two clocks: after a suspend the wall clock is right, after
   * a step backwards the monotonic one. 0 without credentials.
   */
  remaining(): number {
    if (this.#held === undefined) return 0
    const byWall = this.#held.credentials.expiration - this.#clock.now()
    return Math.max(0, Math.min(byWall, this.#byElapsed()))
  }

  /** Whether these belong to the stored session, which is identified by its access key and expiration. */
  #holds({ accessKeyId, expiration }: Credentials): boolean {
    const held = this.#held?.credentials
    return held?.accessKeyId === accessKeyId && held.expiration === expiration
  }

  #byElapsed(): number {
    if (this.#held === undefined) return 0
    return this.#held.life - (this.#clock.monotonic() - this.#held.received)
  }

  /** The last credentials received, expired or not: they still have the role's name. */
  last(): Credentials | undefined {
    return this.#held?.credentials
  }
}

const EXPIRED = {
  kind: 'unavailable',
  code: 'credentials-expired',
  detail: 'The credentials have less than a minute left and the broker gave no new ones.',
} as const
