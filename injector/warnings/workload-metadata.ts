/** Warns of our keys on a workload itself, from which its pods do not get them: `kubectl annotate deployment` writes them there. */
import { misspeltKeys, type TextMetadata } from './misspelt-keys.ts'
import { ownKeys } from './own-keys.ts'

/**
 * A sentence for each key that is on the workload and not on its template. Where both have it, a tool wrote it everywhere (such as
 * kustomize's commonAnnotations), and it has its effect.
 */
export function workloadMetadataWarnings(
  workload: TextMetadata,
  template: TextMetadata,
  roleKey: string,
): string[] {
  const own = ownKeys(roleKey).filter(({ places, isWritten }) => places.includes('pod') && !isWritten)
  const isOwn = (key: string) => own.some((one) => one.key === key)
  const misplaced = Object.keys(workload.annotations)
    .filter((key) => isOwn(key) && template.annotations[key] === undefined)
    .map(
      (key) =>
        `annotation ${key} has no effect on the workload itself: write it into the template of its pods, spec.template.metadata.annotations`,
    )
  const rest = {
    annotations: without(workload.annotations, template.annotations),
    labels: without(workload.labels, template.labels),
  }
  return [...misplaced, ...misspeltKeys(rest, 'pod', roleKey)]
}

/** Without those of the template, which have their own warnings. */
function without(texts: TextMetadata['labels'], others: TextMetadata['labels']): TextMetadata['labels'] {
  return Object.fromEntries(Object.entries(texts).filter(([key]) => others[key] === undefined))
}
