import type { Clock } from './clock.ts'

/** Lets `perSecond` through on average and `burst` at once. */
export type TokenBucket = {
  /** Takes one when there is one. */
  readonly take: () => boolean
  /** Milliseconds until there is one; 0 when there is. */
  readonly wait: () => number
}

/** A token bucket, full at first. */
export function tokenBucket(perSecond: number, burst: number, clock: Clock): TokenBucket {
  let tokens = burst
  let at = clock.now()
  const refill = () => {
    const now = clock.now()
    // A clock that was set back adds nothing.
    tokens = Math.min(burst, tokens + (Math.max(0, now - at) / 1000) * perSecond)
    at = now
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
      return tokens >= 1 ? 0 : Math.ceil(((1 - tokens) / perSecond) * 1000)
    },
  }
}
