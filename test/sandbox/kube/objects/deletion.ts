/** The rules of DELETE. */

import { type JsonObject, type KubeObject, objectAt, stringAt } from './objects.ts'
import type { Resource } from './resources.ts'
import { conflict, failure, type Status } from './status.ts'

/** Whether something must still happen before the object may be deleted: its own finalizers, or a namespace's. */
export function held(object: KubeObject, finalizers: readonly string[]): boolean {
  const own = objectAt(object, 'spec').finalizers
  return finalizers.length > 0 || (object.kind === 'Namespace' && Array.isArray(own) && own.length > 0)
}

/** @throws ApiError 409 when the object is not the one the client meant */
export function checkPreconditions(resource: Resource, current: KubeObject, preconditions: JsonObject): void {
  const { name = '', uid, resourceVersion } = current.metadata
  const refuse = (what: string, wanted: unknown, has: unknown, fate: string) => {
    const why = `the ${what} in the precondition (${wanted}) does not match the ${what} in record (${has}). The object might have been ${fate}`
    // BeforeDelete names the kind; other errors name the resource.
    return conflict({ group: resource.group, plural: resource.kind }, name, why)
  }
  if (preconditions.uid !== undefined && preconditions.uid !== uid)
    throw refuse('UID', preconditions.uid, uid, 'deleted and then recreated')
  if (preconditions.resourceVersion !== undefined && preconditions.resourceVersion !== resourceVersion)
    throw refuse('ResourceVersion', preconditions.resourceVersion, resourceVersion, 'modified')
}

/** Seconds that a deletion waits for the kubelet: none for a pod that has no node or has ended (pkg/registry/core/pod/strategy.go). */
export function gracePeriod(resource: Resource, object: KubeObject, given: unknown): number {
  if (resource.plural !== 'pods' || resource.group !== '') return 0
  if (typeof given === 'number' && given < 0)
    throw failure(422, 'Invalid', 'gracePeriodSeconds must be non-negative')
  const ended = ['Succeeded', 'Failed'].includes(stringAt(object, 'status', 'phase') ?? '')
  if (ended || !stringAt(object, 'spec', 'nodeName')) return 0
  const own = objectAt(object, 'spec').terminationGracePeriodSeconds
  return typeof given === 'number' ? given : typeof own === 'number' ? own : 30
}

/** The answer for objects that are deleted at once, except pods. */
export function deletedStatus(resource: Resource, object: KubeObject): Status {
  const { name, uid } = object.metadata
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: {
      ...(name === undefined ? {} : { name }),
      ...(resource.group === '' ? {} : { group: resource.group }),
      kind: resource.plural,
      ...(uid === undefined ? {} : { uid }),
    },
  }
}
