/** `pods/resize`: what an in-place resize may change (Kubernetes 1.37, pkg/registry/core/pod/strategy.go, podResizeStrategy): from 1.36 on in all init containers. */

import { type JsonObject, type KubeObject, listAt, objectAt, sameJson } from './objects.ts'
import { qosClass } from './pod-defaults.ts'
import { podErrors } from './pod-validation.ts'
import { type FieldError, fieldError } from './status.ts'

const LISTS = ['containers', 'initContainers']
const names = (spec: JsonObject, list: string) => listAt(spec, list).map(({ name }) => name)

/** The current pod, including its metadata, with the new one's resources and resize policies (dropNonResizeUpdates). */
export function resized(next: KubeObject, current: KubeObject): KubeObject {
  const [spec, old] = [objectAt(next, 'spec'), objectAt(current, 'spec')]
  // Other containers stay as they are, so that the validation finds them.
  if (LISTS.some((list) => !sameJson(names(spec, list), names(old, list)))) return next
  const result = { ...old }
  for (const list of LISTS.filter((one) => old[one] !== undefined))
    result[list] = listAt(old, list).map((container, index) => {
      const { resources, resizePolicy } = listAt(spec, list)[index] ?? {}
      return { ...container, resources, ...(resizePolicy === undefined ? {} : { resizePolicy }) }
    })
  return { ...current, spec: result }
}

/** The part of ValidatePodResize that matters for pods with init containers. */
export function resizeErrors(next: KubeObject, current: KubeObject): FieldError[] {
  const [spec, old] = [objectAt(next, 'spec'), objectAt(current, 'spec')]
  if (LISTS.some((list) => !sameJson(names(spec, list), names(old, list))))
    return [
      fieldError.forbidden('spec', 'containers may not be added, removed, renamed or reordered on resize'),
    ]
  const errors = podErrors(next)
  if (qosClass(spec) !== qosClass(old))
    errors.push(
      fieldError.invalid('spec', qosClass(spec), 'Pod QOS Class may not change as a result of resizing'),
    )
  return errors
}
