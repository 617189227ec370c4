/** All that the watch knows of pods, from what the API server sends of each kind. */
import { watchedPods } from './pods.ts'
import { startedSidecars, startingSidecars } from './sidecars.ts'
import { MAX_VERSIONS } from './tally.ts'
import { unlabelledPods } from './unlabelled.ts'

export type KnownPods = ReturnType<typeof knownPods>

/**
 * @param isOptedIn whether a namespace is opted in now
 * @param onGone called for every pod that is gone or no longer relevant
 * @param max pods known one by one, and counted
 */
export function knownPods(
  roleKey: string,
  isOptedIn: (namespace: string) => boolean,
  onGone: (uid: string) => void,
  max: { readonly known?: number; readonly counted?: number },
) {
  const known = watchedPods(roleKey, onGone, max.known)
  const starting = startingSidecars(roleKey, known, max.counted)
  const restarting = watchedPods(roleKey, onGone, max.known)
  const started = startedSidecars(roleKey, restarting, max.counted)
  const unlabelled = unlabelledPods(roleKey, isOptedIn, onGone, max.known)
  return {
    starting: starting.sink,
    started: started.sink,
    unlabelled,
    /** The pods about which there may be a finding. */
    all: () => [...known.all(), ...restarting.all(), ...unlabelled.all()],
    get: (uid: string) => known.get(uid) ?? restarting.get(uid) ?? unlabelled.get(uid),
    /** Sidecars by the release that injected them. */
    versions() {
      const versions = new Map<string, number>()
      const count = (version: string, pods: number) => {
        const shown = versions.has(version) || versions.size < MAX_VERSIONS ? version : 'other'
        versions.set(shown, (versions.get(shown) ?? 0) + pods)
      }
      for (const { tally } of [started, starting])
        for (const [version, pods] of tally().counts()) count(version, pods)
      for (const { hasSidecar, version } of unlabelled.all()) if (hasSidecar) count(version, 1)
      return versions
    },
    /** Number of pods beyond the limit. */
    leftOut() {
      const all = [known, restarting, unlabelled, starting.tally(), started.tally()]
      return all.reduce((sum, one) => sum + one.leftOut(), 0)
    },
  }
}
