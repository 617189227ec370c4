/** Repeatable chance: the same seed draws the same numbers. */

export type Random = {
  /** A number from 0 to below 1. */
  readonly next: () => number
  /** A whole number between two bounds, both included. */
  readonly whole: (least: number, most: number) => number
  readonly pick: <T>(choices: readonly T[]) => T
  /** True with this probability. */
  readonly chance: (probability: number) => boolean
  /** Characters of one byte each (latin1), with any of the 256 values. */
  readonly bytes: (length: number) => string
}

/** Mulberry32: 32 bits of state, good enough to choose attacks with. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const whole = (least: number, most: number) => least + Math.floor(next() * (most - least + 1))
  return {
    next,
    whole,
    pick: <T>(choices: readonly T[]) => {
      if (choices.length === 0) throw new RangeError('nothing to pick from')
      return choices[whole(0, choices.length - 1)] as T
    },
    chance: (probability) => next() < probability,
    bytes: (length) => Array.from({ length }, () => String.fromCharCode(whole(0, 255))).join(''),
  }
}
