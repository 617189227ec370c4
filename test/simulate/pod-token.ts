/** A pod's projected token as the kubelet keeps it, computed when it is read instead of by a timer for each pod. */
import { firstOutside, type Span } from './span.ts'

const DAY_MS = 24 * 3_600_000
/** The interval at which the kubelet looks at a pod's volumes (`syncFrequency` with its jitter). */
const LOOK_MS = 90_000

export type PodToken = {
  /** When it was issued and when it expires, milliseconds, by the API server's clock. */
  readonly read: () => { readonly issued: number; readonly expires: number }
}

/**
 * Kubernetes' token manager (pkg/kubelet/token): requests a new token when, by the node's clock, less than a fifth of the life is left or
 * the token is a day old; while the API server is not available, the old one stays.
 *
 * @param wall the node's clock
 * @param age the age of the first token, milliseconds
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
        // If the clock is ahead by more than the life, every look brings a new token.
        const due = Math.max(issued + renewAfter - (time.wall() - now), issued) + lag
        const renewal = firstOutside(apiAway, due)
        // After an outage, too, a new token comes with the kubelet's next look.
        const at = renewal === due ? due : renewal + lag
        if (at > now) return { issued, expires: issued + life }
        issued = at
      }
    },
  }
}
