import type { Clock } from './clock.ts'
import type { FairLine } from './fair-line.ts'
import type { TokenBucket } from './token-bucket.ts'

/**
 * Starts what waits in a line as fast as a rate allows.
 *
 * @param hasRoom whether one more may be under way
 * @returns to be called whenever something has joined the line or has ended
 */
export function pacedStarts(
  line: Pick<FairLine, 'size' | 'next'>,
  rate: Pick<TokenBucket, 'take' | 'wait'>,
  clock: Clock,
  hasRoom: () => boolean = () => true,
): () => void {
  let cancel = () => {}
  function waitForRefill() {
    // What has joined since may start earlier.
    cancel()
    cancel = clock.after(rate.wait(), pump)
  }
  function pump() {
    while (hasRoom() && line.size() > 0) {
      if (!rate.take()) return waitForRefill()
      line.next()?.()
    }
  }
  return pump
}
