import type { Clock } from './clock.ts'
import type { FairQueue } from './fair-queue.ts'
import type { TokenBucket } from './token-bucket.ts'

/**
 * Starts what waits in a queue as fast as a rate allows.
 *
 * @param hasRoom whether one more may be under way
 * @returns to be called whenever something has joined the queue or has ended
 */
export function pacedStarts(
  queue: Pick<FairQueue, 'size' | 'next'>,
  rate: Pick<TokenBucket, 'take' | 'wait'>,
  clock: Clock,
  hasRoom: () => boolean = () => true,
): () => void {
  let isRefilling = false
  function waitForRefill() {
    if (isRefilling) return
    isRefilling = true
    clock.after(rate.wait(), () => {
      isRefilling = false
      pump()
    })
  }
  function pump() {
    while (hasRoom() && queue.size() > 0) {
      if (!rate.take()) return waitForRefill()
      queue.next()?.()
    }
  }
  return pump
}
