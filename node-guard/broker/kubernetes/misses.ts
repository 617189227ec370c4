import { BoundedMap } from '../../../common/bounded-map.ts'
import type { Clock } from '../../../common/clock.ts'
import type { PodRecord } from './pod.ts'

/** What a live read found that was not a living pod of this node, so that its token does not cost one each time. */
export type Misses = {
  /** Undefined where nothing is remembered; `pod` is what was found: one of another node, or that has ended. */
  readonly get: (uid: string) => { readonly pod: PodRecord | undefined } | undefined
  readonly add: (uid: string, pod: PodRecord | undefined) => void
}

const REMEMBERED_MS = 30_000
const MAX_REMEMBERED = 1024

/** Remembers for half a minute; when it is full the oldest is forgotten. */
export function missMemory(clock: Clock): Misses {
  const byUid = new BoundedMap<string, { readonly pod: PodRecord | undefined; readonly at: number }>(
    MAX_REMEMBERED,
  )
  return {
    get: (uid) => {
      const miss = byUid.get(uid)
      return miss && Math.abs(clock.now() - miss.at) < REMEMBERED_MS ? miss : undefined
    },
    add: (uid, pod) => void byUid.set(uid, { pod, at: clock.now() }),
  }
}
