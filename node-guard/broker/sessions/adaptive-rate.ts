/**
 * Adapts the rate at which this node calls STS. The operator's rate is for one node; the quota is the account's, shared by all its nodes and by
 * other callers, and no node knows its share. So each node adapts as TCP does: half the rate when STS refuses, a little
 * more with every answer.
 */
import type { Clock } from '../../../common/clock.ts'
import { tokenBucket } from '../../../common/token-bucket.ts'

export type AdaptiveRate = ReturnType<typeof adaptiveRate>
export type RatedCall = ReturnType<AdaptiveRate['begin']>

const SLOWER = 0.5
/**
 * While the fleet is at its quota one or two of ten calls are refused, so that the quota is fully used. Twenty answers in a row
 * bring a node from its minimum to almost its full rate.
 */
const FASTER = 1.25
/** Calls per second that are tried however often STS refuses: with the spread one in half a minute, 170 a second of 5,000 nodes. */
const MIN_RATE = 0.05

/** @param max calls per second if STS never refuses, and as many at once */
export function adaptiveRate(max: number, clock: Clock) {
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
    /** Begins a call that was taken; the caller reports how STS answered it. */
    begin: () => {
      const born = epoch
      return {
        answered: () => goAt(Math.min(max, rate * FASTER)),
        /** STS refused it because of the quota, or did not answer. */
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
