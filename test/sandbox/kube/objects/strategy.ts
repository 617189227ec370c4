/** What a client may set on create and update, per resource: the strategy.go files under pkg/registry. */
import { randomUUID } from 'node:crypto'
import { initialStatus } from './defaults.ts'
import {
  isObject,
  type JsonObject,
  type KubeObject,
  type ObjectMeta,
  objectAt,
  sameJson,
  timestamp,
} from './objects.ts'
import { generateName } from './pod-defaults.ts'
import { defaultPodRequests } from './pod-level-resources.ts'
import { resized } from './pod-resize.ts'
import type { Resource } from './resources.ts'

/** Kinds whose `metadata.generation` counts changes of the spec. */
const GENERATION = new Set(['Pod', 'Deployment', 'ReplicaSet', 'DaemonSet', 'StatefulSet', 'Job', 'CronJob'])
const WEBHOOK_CONFIGURATION = /WebhookConfiguration$/

const withoutUndefined = (metadata: JsonObject): ObjectMeta =>
  Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined))

/** Removes fields that only the server sets; the namespace is the request's. Runs before admission. */
export function wipeForCreate(object: KubeObject, namespace: string | undefined): KubeObject {
  const {
    uid: _uid,
    resourceVersion: _version,
    creationTimestamp: _created,
    deletionTimestamp: _deleted,
    deletionGracePeriodSeconds: _grace,
    generation: _generation,
    selfLink: _link,
    managedFields: _managed,
    ...metadata
  } = object.metadata
  return { ...object, metadata: namespace === undefined ? metadata : { ...metadata, namespace } }
}

/** A Job selects its pods by its own uid (pkg/registry/batch/job/strategy.go). */
function withJobSelector(job: KubeObject, uid: string): KubeObject {
  const spec = objectAt(job, 'spec')
  if (spec.manualSelector === true) return job
  const template = objectAt(spec, 'template')
  const metadata = objectAt(template, 'metadata')
  const name = job.metadata.name ?? ''
  const labels = {
    ...objectAt(metadata, 'labels'),
    'batch.kubernetes.io/controller-uid': uid,
    'batch.kubernetes.io/job-name': name,
    'controller-uid': uid,
    'job-name': name,
  }
  const selector = { matchLabels: { 'batch.kubernetes.io/controller-uid': uid } }
  return { ...job, spec: { ...spec, selector, template: { ...template, metadata: { ...metadata, labels } } } }
}

/** Sets name, uid, creation time and initial status: after mutating and before validating admission. */
export function finishCreate(resource: Resource, created: KubeObject, now: number): KubeObject {
  // Since Kubernetes 1.37 the pod's requests are defaulted after the webhooks have added theirs, not when the pod is decoded.
  const object =
    created.kind === 'Pod' ? { ...created, spec: defaultPodRequests(objectAt(created, 'spec')) } : created
  const { generateName: base, name } = object.metadata
  const status = initialStatus(object)
  const { status: sent, ...rest } = object
  const kept = status !== undefined ? { status } : sent === undefined ? {} : { status: sent }
  const uid = randomUUID()
  const generation = GENERATION.has(resource.kind) || WEBHOOK_CONFIGURATION.test(resource.kind)
  return {
    ...(resource.kind === 'Job' ? withJobSelector(rest as KubeObject, uid) : rest),
    metadata: {
      ...object.metadata,
      ...(name === undefined || name === '' ? { name: generateName(base ?? '') } : {}),
      uid,
      creationTimestamp: timestamp(now),
      ...(generation ? { generation: 1 } : {}),
    },
    ...kept,
  }
}

/** Nobody can change the system fields of the metadata. */
function keepSystemFields(next: ObjectMeta, current: ObjectMeta): ObjectMeta {
  const { uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, generation } = current
  const { managedFields: _managed, selfLink: _link, ...rest } = next
  return withoutUndefined({
    ...rest,
    name: current.name,
    namespace: current.namespace,
    generateName: current.generateName,
    uid,
    creationTimestamp,
    deletionTimestamp,
    deletionGracePeriodSeconds,
    generation,
  })
}

function withStatus(object: KubeObject, status: unknown): KubeObject {
  const { status: _, ...rest } = object
  return status === undefined ? (rest as KubeObject) : ({ ...rest, status } as KubeObject)
}

/** `pods/status`: spec and owners stay, but labels and annotations may change, as on a real server. */
function forStatus(next: KubeObject, current: KubeObject): KubeObject {
  const metadata = keepSystemFields(next.metadata, current.metadata)
  const { ownerReferences } = current.metadata
  return withStatus({ ...current, metadata: withoutUndefined({ ...metadata, ownerReferences }) }, next.status)
}

function withGeneration(next: KubeObject, current: KubeObject): KubeObject {
  const { generation } = current.metadata
  if (generation === undefined) return next
  const body = ({ metadata: _m, status: _s, ...rest }: KubeObject) => rest
  if (sameJson(body(next), body(current))) return next
  return { ...next, metadata: { ...next.metadata, generation: generation + 1 } }
}

/** The object an update may store: fields the endpoint must not change are taken from the current one. */
export function prepareForUpdate(
  resource: Resource,
  subresource: string | undefined,
  next: KubeObject,
  current: KubeObject,
): KubeObject {
  if (subresource === 'status') return forStatus(next, current)
  const metadata = keepSystemFields(next.metadata, current.metadata)
  const prepared: KubeObject = { ...next, metadata }
  if (subresource === 'finalize')
    return { ...current, metadata: current.metadata, spec: objectAt(next, 'spec') }
  if (subresource === 'resize') return withGeneration(resized(next, current), current)
  if (subresource === 'ephemeralcontainers')
    return {
      ...current,
      spec: { ...objectAt(current, 'spec'), ephemeralContainers: objectAt(next, 'spec').ephemeralContainers },
    }
  const status = Object.hasOwn(resource.subresources, 'status') ? current.status : next.status
  return withGeneration(withStatus(prepared, status), current)
}

/** Whether two versions are equal except for resourceVersion: then nothing is written. */
export function unchanged(next: KubeObject, current: KubeObject): boolean {
  const strip = (object: KubeObject) => {
    const { resourceVersion: _, ...metadata } = object.metadata
    return { ...object, metadata }
  }
  return sameJson(strip(next), strip(current))
}

export function isKubeObject(value: unknown): value is KubeObject {
  return isObject(value) && (value.metadata === undefined || isObject(value.metadata))
}
