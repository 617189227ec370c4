import { BoundedMap } from './bounded-map.ts'
import type { Clock } from './clock.ts'

/** Lets `perSecond` through on average and `burst` at once. */
export type TokenBucket = ReturnType<typeof tokenBucket>

/** A token bucket, full at first. */
export function tokenBucket(perSecond: number, burst: number, clock: Clock) {
  let [rate, max] = [perSecond, burst]
  let tokens = burst
  let at = clock.now()
  const refill = () => {
    const now = clock.now()
    // A clock that was set back adds nothing.
    tokens = Math.min(max, tokens + (Math.max(0, now - at) / 1000) * rate)
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
      return tokens >= 1 ? 0 : Math.ceil(((1 - tokens) / rate) * 1000)
    },
    /** Another rate and burst from now on. @param left how many there are now; below 0 for a longer wait */
    change: (newPerSecond: number, newBurst: number, left?: number) => {
      refill()
      rate = newPerSecond
      max = newBurst
      tokens = left ?? tokens
    },
  }
}

/**
 * A token bucket for each key.
 *
 * @param max keys that are remembered: the bucket of a forgotten one is full again
 * @returns takes one of a key when there is one
 */
export function tokenBuckets(perSecond: number, burst: number, clock: Clock, max: number) {
  const byKey = new BoundedMap<string, TokenBucket>(max)
  return (key: string): boolean => {
    const bucket = byKey.get(key) ?? tokenBucket(perSecond, burst, clock)
    byKey.set(key, bucket)
    return bucket.take()
  }
}
