import type { Clock } from '../../../common/clock.ts'
import type { PodRecord } from './pod.ts'

/** What a live read found that was not a pod of this node, so that its token does not cost one each time. */
export type Misses = {
  /** Undefined where nothing is remembered; `elsewhere` is the pod where it runs on another node. */
  readonly get: (uid: string) => { readonly elsewhere: PodRecord | undefined } | undefined
  readonly add: (uid: string, elsewhere: PodRecord | undefined) => void
}

const REMEMBERED_MS = 30_000
const MAX_REMEMBERED = 1024

/** Remembers for half a minute; when it is full the oldest is forgotten. */
export function missMemory(clock: Clock): Misses {
  const byUid = new Map<string, { readonly elsewhere: PodRecord | undefined; readonly at: number }>()
  return {
    get: (uid) => {
      const miss = byUid.get(uid)
      return miss && Math.abs(clock.now() - miss.at) < REMEMBERED_MS ? miss : undefined
    },
    add: (uid, elsewhere) => {
      byUid.delete(uid)
      byUid.set(uid, { elsewhere, at: clock.now() })
      for (const oldest of byUid.keys()) {
        if (byUid.size <= MAX_REMEMBERED) break
        byUid.delete(oldest)
      }
    },
  }
}
