/** What the workload controllers share: their user, their pods, their Events. */
import { createHash, randomUUID } from 'node:crypto'
import type { Caller, Target } from '../admission/admission-request.ts'
import {
  type JsonObject,
  type KubeObject,
  listAt,
  objectAt,
  sameJson,
  stringAt,
  timestamp,
} from '../objects/objects.ts'
import { type Resource, resourceNamed } from '../objects/resources.ts'
import { isApiError } from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import type { Operations } from '../server/operations.ts'

const PODS = resourceNamed('pods')
const EVENTS = resourceNamed('events')

export type ControllerContext = {
  readonly store: Store
  readonly operations: Operations
  readonly now: () => number
}

/** Acts as one controller: `system:serviceaccount:kube-system:<account>`. */
export type Actor = {
  readonly store: Store
  readonly now: () => number
  /** Creates a pod of `owner` through admission; a refusal becomes a FailedCreate Event on the owner and is thrown. */
  createPod(
    owner: KubeObject,
    pod: { readonly metadata: JsonObject; readonly spec: JsonObject },
  ): Promise<KubeObject>
  create(resource: Resource, object: KubeObject): Promise<KubeObject>
  patch(resource: Resource, object: KubeObject, change: (current: KubeObject) => KubeObject): Promise<void>
  /** Deletes gracefully; it is no error if the object does not exist. */
  remove(resource: Resource, object: KubeObject): Promise<void>
  setStatus(resource: Resource, object: KubeObject, status: JsonObject): Promise<void>
  bind(pod: KubeObject, node: string): Promise<void>
}

/** @param component the Event's source, e.g. `daemonset-controller` */
export function createActor(
  context: ControllerContext,
  account: string,
  component: string,
  bind: (target: Target, name: string, node: string, caller: Caller) => Promise<unknown>,
): Actor {
  const { store, operations, now } = context
  const username = `system:serviceaccount:kube-system:${account}`
  const groups = ['system:serviceaccounts', 'system:serviceaccounts:kube-system', 'system:authenticated']
  const caller: Caller = {
    user: { username, groups },
    dryRun: false,
    fieldValidation: 'Ignore',
    warn: () => {},
    audit: () => {},
  }
  const targetOf = (resource: Resource, object: KubeObject): Target => ({
    resource,
    namespace: object.metadata.namespace,
  })

  /** An Event that cannot be written because its namespace is being deleted is lost, as on a real cluster. */
  const emit = (owner: KubeObject, event: Event) =>
    writeEvent(actor, component, owner, event).catch((error: unknown) => {
      if (!isApiError(error)) throw error
    })

  const actor: Actor = {
    store,
    now,
    async createPod(owner, pod) {
      const { namespace = 'default' } = owner.metadata
      const object: KubeObject = {
        apiVersion: 'v1',
        kind: 'Pod',
        spec: pod.spec,
        metadata: { ...pod.metadata, namespace, ownerReferences: [controllerReference(owner)] },
      }
      try {
        const created = await operations.create(targetOf(PODS, object), object, caller)
        const message = `Created pod: ${created.metadata.name}`
        await emit(owner, { type: 'Normal', reason: 'SuccessfulCreate', message })
        return created
      } catch (error) {
        if (isApiError(error)) {
          const message = `Error creating: ${error.message}`
          await emit(owner, { type: 'Warning', reason: 'FailedCreate', message })
        }
        throw error
      }
    },
    create: (resource, object) => operations.create(targetOf(resource, object), object, caller),
    async patch(resource, object, change) {
      await operations.patch(targetOf(resource, object), object.metadata.name ?? '', change, caller)
    },
    async remove(resource, object) {
      const { name = '', uid } = object.metadata
      const options = { preconditions: { uid } }
      await operations.remove(targetOf(resource, object), name, options, caller).catch((error: unknown) => {
        if (!isApiError(error, 404, 409)) throw error
      })
    },
    async setStatus(resource, object, status) {
      const target = { ...targetOf(resource, object), subresource: 'status' }
      if (sameJson({ ...objectAt(object, 'status'), ...status }, objectAt(object, 'status'))) return
      const change = (current: KubeObject) => ({
        ...current,
        status: { ...objectAt(current, 'status'), ...status },
      })
      await operations.patch(target, object.metadata.name ?? '', change, caller).catch((error: unknown) => {
        if (!isApiError(error, 404)) throw error
      })
    },
    async bind(pod, node) {
      await bind(targetOf(PODS, pod), pod.metadata.name ?? '', node, caller).catch((error: unknown) => {
        // Another client has bound it first, or the pod is gone.
        if (!isApiError(error, 404, 409)) throw error
      })
    },
  }
  return actor
}

type Event = { readonly type: string; readonly reason: string; readonly message: string }

/** Writes an Event on `owner`; if it exists already, its count is increased. */
async function writeEvent(actor: Actor, source: string, owner: KubeObject, event: Event): Promise<void> {
  const { type, reason, message } = event
  const { namespace = 'default', name = '', uid } = owner.metadata
  const at = timestamp(actor.now())
  const same = actor.store
    .list(EVENTS, namespace)
    .find((e) => e.reason === reason && e.message === message && stringAt(e, 'involvedObject', 'uid') === uid)
  if (same !== undefined) {
    const count = typeof same.count === 'number' ? same.count + 1 : 2
    await actor.patch(EVENTS, same, (seen) => ({ ...seen, count, lastTimestamp: at }))
    return
  }
  const { apiVersion, kind, metadata } = owner
  await actor.create(EVENTS, {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: `${name}.${randomUUID().replaceAll('-', '').slice(0, 16)}`, namespace },
    involvedObject: { apiVersion, kind, name, namespace, uid, resourceVersion: metadata.resourceVersion },
    type,
    reason,
    message,
    source: { component: source },
    reportingComponent: source,
    reportingInstance: '',
    firstTimestamp: at,
    lastTimestamp: at,
    count: 1,
  })
}

export function controllerReference(owner: KubeObject) {
  const { name = '', uid = '' } = owner.metadata
  return {
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name,
    uid,
    controller: true,
    blockOwnerDeletion: true,
  }
}

export function ownedBy(object: KubeObject, owner: KubeObject): boolean {
  return (object.metadata.ownerReferences ?? []).some(
    (reference) => reference.controller === true && reference.uid === owner.metadata.uid,
  )
}

export function podsOf(store: Store, owner: KubeObject): KubeObject[] {
  return store.list(PODS, owner.metadata.namespace).filter((pod) => ownedBy(pod, owner))
}

export function isReady(pod: KubeObject): boolean {
  return (
    pod.metadata.deletionTimestamp === undefined &&
    listAt(pod, 'status', 'conditions').some((c) => c.type === 'Ready' && c.status === 'True')
  )
}

export const phaseOf = (pod: KubeObject): string => stringAt(pod, 'status', 'phase') ?? 'Pending'
export const isTerminating = (object: KubeObject): boolean => object.metadata.deletionTimestamp !== undefined

/** Ten letters that change with the template: pod-template-hash and controller-revision-hash. */
export function templateHash(template: unknown): string {
  return createHash('sha256').update(JSON.stringify(template)).digest('hex').slice(0, 10)
}

/** A number or a percentage of `total`, rounded down, but at least 1. */
export function atLeastOne(value: unknown, total: number): number {
  const number =
    typeof value === 'string' && value.endsWith('%')
      ? Math.floor((Number(value.slice(0, -1)) / 100) * total)
      : Number(value ?? 1)
  return Math.max(1, number)
}
