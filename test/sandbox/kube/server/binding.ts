/** The binding subresource of pods: what schedulers call. */

import { admissionRequest, type Caller, options, type Target } from '../admission/admission-request.ts'
import { isObject, type KubeObject, objectAt, stringAt, timestamp } from '../objects/objects.ts'
import { badRequest, conflict, invalid, type Status } from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import type { Operations } from './operations.ts'

/**
 * POST pods/x/binding: assigns a pod to a node; labels and annotations of the Binding are merged into the pod.
 *
 * @param admitted the resource that admission sees: `bindings`, the old way to do the same, is a resource of its own
 */
export async function bind(
  store: Store,
  operations: Operations,
  target: Target,
  name: string,
  body: unknown,
  caller: Caller,
  admitted: Target = { ...target, subresource: 'binding' },
): Promise<Status> {
  if (!isObject(body)) throw badRequest('a Binding is an object')
  const { resource, namespace } = target
  const binding: KubeObject = {
    ...body,
    apiVersion: 'v1',
    kind: 'Binding',
    metadata: { ...objectAt(body, 'metadata'), name, ...(namespace === undefined ? {} : { namespace }) },
  }
  const node = stringAt(body, 'target', 'name') ?? ''
  if (node === '')
    throw invalid('Binding', '', name, [
      { field: 'target.name', reason: 'FieldValueRequired', message: 'Required value' },
    ])
  const opts = options('CreateOptions', caller)
  const request = (object: KubeObject) =>
    admissionRequest('CREATE', admitted, name, { object, oldObject: undefined }, opts, caller)
  const mutated = await operations.admission.mutate(request(binding))
  await operations.admission.validate(request(mutated))
  const pod = operations.get(target, name)
  const assigned = stringAt(pod, 'spec', 'nodeName')
  const about = { group: '', plural: 'pods/binding' }
  if (pod.metadata.deletionTimestamp !== undefined)
    throw conflict(about, name, `pod ${name} is being deleted, cannot be assigned to a host`)
  if (assigned) throw conflict(about, name, `pod ${name} is already assigned to node "${assigned}"`)
  const scheduled = {
    type: 'PodScheduled',
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: timestamp(operations.now()),
  }
  const status = objectAt(pod, 'status')
  const others = Array.isArray(status.conditions)
    ? status.conditions.filter((c) => stringAt(c, 'type') !== 'PodScheduled')
    : []
  const merged = (field: 'labels' | 'annotations') => {
    const all = { ...pod.metadata[field], ...mutated.metadata[field] }
    return Object.keys(all).length > 0 ? { [field]: all } : {}
  }
  const bound: KubeObject = {
    ...pod,
    metadata: { ...pod.metadata, ...merged('labels'), ...merged('annotations') },
    spec: { ...objectAt(pod, 'spec'), nodeName: node },
    status: { ...status, conditions: [...others, scheduled] },
  }
  if (!caller.dryRun) store.put(resource, bound, pod)
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 }
}
