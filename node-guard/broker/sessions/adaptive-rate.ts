/**
 * Adapts the rate at which this node calls STS. The operator's rate is for one node; the quota is the account's, shared by all its nodes and by
 * other callers, and no node knows its share. So each node adapts as TCP does: half the rate when STS refuses, a little
 * more with every answer.
 */
import type { Clock } from '../../../common/clock.ts'

type AdaptiveRate = {
  /** Whether a call may be made now; if so, it is counted. */
  readonly take: () => boolean
  /** Milliseconds until a call may be made; 0 if it may now. */
  readonly wait: () => number
  /** Begins a call that was taken; the caller reports how STS answered it. */
  readonly begin: () => RatedCall
}

export type RatedCall = {
  readonly answered: () => void
  /** STS refused it because of the quota, or did not answer. */
  readonly refused: () => void
}

const SLOWER = 0.5
/**
 * While the fleet is at its quota one or two of ten calls are refused, so that the quota is fully used. Twenty answers in a row
 * bring a node from its minimum to almost its full rate.
 */
const FASTER = 1.25
/** Calls per second that are tried however often STS refuses: with the spread one in half a minute, 170 a second of 5,000 nodes. */
const MIN_RATE = 0.05

/** @param most calls per second if STS never refuses, and as many at once */
export function adaptiveRate(most: number, clock: Clock): AdaptiveRate {
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
    // With jitter, so that the nodes that were refused together do not call together again.
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
