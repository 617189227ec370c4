/**
 * Hostile connections as data: what is sent when, and what must never come back. Pure functions of chance;
 * `attacker.ts` carries them out.
 */
import { MALFORMED } from './malformed.ts'
import { type Random, seededRandom } from './random.ts'
import { REFUSED } from './refused.ts'
import { SLOW } from './slow.ts'

export type Step =
  /** One byte a character. */
  | { readonly send: string }
  /** Milliseconds. */
  | { readonly wait: number }
  /** Our half is closed (FIN). */
  | { readonly halfClose: true }
  /** The connection is reset (RST). */
  | { readonly reset: true }
  /** From here on nothing is read. */
  | { readonly deaf: true }

export type Attack = {
  readonly steps: readonly Step[]
  /** Whether whoever sends this may read the credentials: only then may they be in the answer. */
  readonly entitled: boolean
  /** No answer to it on the metadata port may be a 2xx. */
  readonly never2xx: boolean
  /** At most so many requests are in it: the log has at most as many lines for it. */
  readonly requests: number
  /** Longest time that the answer is waited for after the last step, milliseconds. */
  readonly linger: number
  /** Connections that do this at once. */
  readonly connections: number
}

/** What an attack may know. */
export type Knowledge = {
  /** A session token that is good: for requests that must be refused in spite of it. */
  readonly token: string
}

export type Attacks = Readonly<Record<string, (random: Random, knowledge: Knowledge) => Attack>>

export const ATTACKS: Attacks = { ...MALFORMED, ...REFUSED, ...SLOW }

/** The names, in a fixed order: part of what a seed means. */
export const ATTACK_NAMES: readonly string[] = Object.keys(ATTACKS).sort()

export type Drawn = {
  readonly name: string
  readonly kind: 'metadata' | 'health'
  readonly attack: Attack
}

const HEALTH_SHARE = 0.15

/**
 * The attack of a number: the same for the same seed, whatever came before it.
 *
 * @param only words in the names of those to draw from; none for all
 * @throws RangeError when no name contains one of the words
 */
export function drawAttack(
  number: number,
  { seed, only, token }: Knowledge & { readonly seed: number; readonly only: readonly string[] },
): Drawn {
  const random = seededRandom(seed + Math.imul(number, 0x9e3779b1))
  const names = ATTACK_NAMES.filter((name) => only.length === 0 || only.some((word) => name.includes(word)))
  const name = random.pick(names)
  const kind = random.chance(HEALTH_SHARE) ? 'health' : 'metadata'
  const attack = ATTACKS[name]?.(random, { token })
  if (attack === undefined) throw new RangeError(`there is no attack named ${name}`)
  return { name, kind, attack }
}
