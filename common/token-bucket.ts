import type { Clock } from './clock.ts'

/** Lets `perSecond` through on average and `burst` at once. */
export type TokenBucket = ReturnType<typeof tokenBucket>

/** A token bucket, full at first. */
export function tokenBucket(perSecond: number, burst: number, clock: Clock) {
  let tokens = burst
  let at = clock.now()
  const refill = () => {
    const now = clock.now()
    // A clock that was set back adds nothing.
    tokens = Math.min(burst, tokens + (Math.max(0, now - at) / 1000) * perSecond)
    at = now
  }
  return {
    /** Takes one when there is one. */
    take: () => {
      refill()
      if (tokens < 1) return false
      tokens -= 1
      return true
    },
    /** Milliseconds until there is one; 0 when there is. */
    wait: () => {
      refill()
      return tokens >= 1 ? 0 : Math.ceil(((1 - tokens) / perSecond) * 1000)
    },
  }
}
