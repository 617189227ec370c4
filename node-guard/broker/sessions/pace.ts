/**
 * How fast this node calls STS. The operator's rate is for one node; the quota is the account's, shared by all its nodes and by
 * others, and no node knows its share. So each finds it out, as TCP does: slower by half when STS refuses, a little
 * faster with every answer.
 */
import type { Clock } from '../../../common/clock.ts'

type Pace = {
  /** Takes one call when it may be made now. */
  readonly take: () => boolean
  /** Milliseconds until one may be made; 0 when it may. */
  readonly wait: () => number
  /** Begins a call that was taken; the caller reports how STS answered it. */
  readonly begin: () => PacedCall
}

export type PacedCall = {
  readonly answered: () => void
  /** STS refused it because of the quota, or did not answer. */
  readonly refused: () => void
}

const SLOWER = 0.5
/**
 * Of ten calls one or two are refused while the fleet is at its quota, which keeps the quota used. Twenty answers in a row
 * bring a node from its least to almost its whole rate.
 */
const FASTER = 1.25
/** Calls per second that are tried however often STS refuses: with the spread one in half a minute, 170 a second of 5,000 nodes. */
const MIN_RATE = 0.05

/** @param most calls per second when STS never refuses, and as many at once */
export function stsPace(most: number, clock: Clock): Pace {
  const least = Math.min(MIN_RATE, most)
  let rate = most
  let tokens = most
  let at = clock.now()
  /** Calls that were on their way when the rate was lowered say nothing about the lower rate. */
  let epoch = 0

  const refill = () => {
    const now = clock.now()
    // A clock that was set back adds nothing.
    tokens = Math.min(Math.max(1, rate), tokens + (Math.max(0, now - at) / 1000) * rate)
    at = now
  }
  const slower = () => {
    refill()
    epoch++
    rate = Math.max(least, rate * SLOWER)
    // Spread, so that the nodes that were refused together do not come together again.
    tokens = -Math.random()
  }
  return {
    take: () => {
      refill()
      if (tokens < 1) return false
      tokens -= 1
      return true
    },
    wait: () => {
      refill()
      return tokens >= 1 ? 0 : Math.ceil(((1 - tokens) / rate) * 1000)
    },
    begin: () => {
      const born = epoch
      return {
        answered: () => {
          refill()
          rate = Math.min(most, rate * FASTER)
        },
        refused: () => {
          if (born === epoch) slower()
        },
      }
    },
  }
}
