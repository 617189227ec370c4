/**
 * Hostile connections as data: what is sent when, and what must never come back. Pure functions of chance;
 * `attacker.ts` carries them out.
 */
import type { Attack, Attacks, Knowledge } from './attack.ts'
import { MALFORMED } from './malformed.ts'
import { seededRandom } from './random.ts'
import { REFUSED } from './refused.ts'
import { SLOW } from './slow.ts'

const ATTACKS: Attacks = { ...MALFORMED, ...REFUSED, ...SLOW }

/** The names in a fixed order, because the attacks that a seed draws depend on it. */
export const ATTACK_NAMES: readonly string[] = Object.keys(ATTACKS).sort()

export type Drawn = {
  readonly name: string
  readonly kind: 'metadata' | 'health'
  readonly attack: Attack
}

const HEALTH_SHARE = 0.15

/**
 * Draws the attack of a number: the same for the same seed, whatever was drawn before.
 *
 * @param only words in the names of the attacks to draw from; empty: all attacks
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
