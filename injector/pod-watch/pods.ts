import { boundedPods } from './bounded-pods.ts'
import { isRelevant, watchedPod } from './pod.ts'

/** The pods about which there is, or may soon be, a finding. */
export type WatchedPods = ReturnType<typeof watchedPods>

/** @param onGone called for every pod that is gone or no longer relevant */
export function watchedPods(roleKey: string, onGone: (uid: string) => void = () => {}, max?: number) {
  const project = (object: unknown) => watchedPod(object, roleKey)
  const { sink, all, get, leftOut } = boundedPods({ project, isRelevant, onGone, max })
  return { sink: sink(), all, get, leftOut }
}
