/**
 * How fast this node calls STS. The operator's rate is for one node; the quota is the account's, shared by all its nodes and by
 * others, and no node knows its share. So each finds it out, as TCP does: slower by half when STS refuses, a little
 * faster with every answer.
 */
import type { Clock } from '../../../common/clock.ts'
import { type TokenBucket, tokenBucket } from '../../../common/token-bucket.ts'

export type Pace = Pick<TokenBucket, 'take' | 'wait'> & {
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

/** @param max calls per second when STS never refuses, and as many at once */
export function stsPace(max: number, clock: Clock): Pace {
  const min = Math.min(MIN_RATE, max)
  const bucket = tokenBucket(max, max, clock)
  let rate = max
  /** Calls that were on their way when the rate was lowered say nothing about the lower rate. */
  let epoch = 0

  const goAt = (newRate: number, left?: number) => {
    rate = newRate
    bucket.change(rate, Math.max(1, rate), left)
  }
  return {
    ...{ take: bucket.take, wait: bucket.wait },
    begin: () => {
      const born = epoch
      return {
        answered: () => goAt(Math.min(max, rate * FASTER)),
        refused: () => {
          if (born !== epoch) return
          epoch++
          // Spread, so that the nodes that were refused together do not come together again.
          goAt(Math.max(min, rate * SLOWER), -Math.random())
        },
      }
    },
  }
}
