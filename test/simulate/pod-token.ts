/** A pod's projected token as the kubelet keeps it, worked out when it is read instead of by a timer for each pod. */
import { firstOutside, type Span } from './span.ts'

const DAY_MS = 24 * 3_600_000
/** The kubelet looks at a pod's volumes once in this time (`syncFrequency` with its jitter). */
const LOOK_MS = 90_000

export type PodToken = {
  /** Issued and expiring, milliseconds, as the API server's clock has it. */
  readonly read: () => { readonly issued: number; readonly expires: number }
}

/**
 * Kubernetes' token manager (pkg/kubelet/token): a new one when, by the node's clock, less than a fifth of the life is left or
 * it is a day old; while the API server is away, the old one stays.
 *
 * @param wall the node's clock
 * @param age how old the first one is, milliseconds
 */
export function podToken(
  time: { readonly now: () => number; readonly wall: () => number },
  lifeSeconds: number,
  age: number,
  apiAway: readonly Span[],
): PodToken {
  const life = lifeSeconds * 1000
  const renewAfter = Math.min(life * 0.8, DAY_MS)
  const lag = Math.random() * LOOK_MS
  let issued = time.now() - age
  return {
    read: () => {
      const now = time.now()
      for (;;) {
        // Where the clock is ahead by more than the life, every look brings a new one.
        const due = Math.max(issued + renewAfter - (time.wall() - now), issued) + lag
        const renewal = firstOutside(apiAway, due)
        // After an outage, too, it is the kubelet's next look that brings it.
        const at = renewal === due ? due : renewal + lag
        if (at > now) return { issued, expires: issued + life }
        issued = at
      }
    },
  }
}
