/** What the watch keeps of a pod, and what it finds wrong with it. Pure. */
import { type injectionMode, KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'
import { MIRROR_KEY } from '../pod/unsupported.ts'
import { startsAlone, waitingSince } from './start-wait.ts'

export type WatchedPod = {
  readonly uid: string
  readonly namespace: string
  readonly name: string
  /** Empty until the kubelet reports it. */
  readonly ip: string
  /** Whether its annotations ask for a role or for metadata, and it could have a sidecar at all. */
  readonly asks: boolean
  readonly hasSidecar: boolean
  /** Release that injected it, for a metric; `unknown` where the status annotation is not ours. */
  readonly version: string
  /** Whether its sidecar lets its own containers start, and no gate does. */
  readonly startsAlone: boolean
  /** Since when its gate, or its sidecar's start hook, has been running, milliseconds since 1970; undefined while it is not. */
  readonly gateSince: number | undefined
}

export type Finding = 'InjectionMissing' | 'GateWaiting'

/** A start usually takes less than two seconds. */
export const GATE_PATIENCE_MS = 30_000

const RELEASE = /^\d{1,4}\.\d{1,4}\.\d{1,4}(?:-[0-9a-z.]{1,20})?$/

/** Projects a pod as the API server sends it; undefined for what is none. Never throws. */
export function watchedPod(object: unknown, roleKey: string): WatchedPod | undefined {
  if (!isObject(object)) return undefined
  const [metadata, spec, status] = [part(object.metadata), part(object.spec), part(object.status)]
  const [uid, namespace, name] = [text(metadata.uid), text(metadata.namespace), text(metadata.name)]
  if (uid === '' || namespace === '' || name === '') return undefined
  const annotations = part(metadata.annotations)
  const isLeaving = metadata.deletionTimestamp !== undefined
  // Mirror pods cannot be changed; annotated pods on the host network exist only where the operator lets them be.
  const cannot = annotations[MIRROR_KEY] !== undefined || spec.hostNetwork === true
  const inject = annotations[KEYS.inject]
  const wants = annotations[roleKey] !== undefined || inject === 'metadata'
  const sidecar = objects(spec.initContainers).find((one) => one.name === SIDECAR_CONTAINER)
  return {
    uid,
    namespace,
    name,
    ip: text(status.podIP),
    asks: wants && inject !== 'false' && !cannot && !isLeaving,
    hasSidecar: sidecar?.restartPolicy === 'Always',
    version: releaseOf(annotations[KEYS.status]),
    startsAlone: startsAlone(spec),
    gateSince: isLeaving ? undefined : waitingSince(spec, status),
  }
}

/**
 * What somebody should know about the pod.
 *
 * @param mode how its namespace is opted in now
 * @param now milliseconds since 1970
 */
export function finding(
  pod: WatchedPod,
  mode: ReturnType<typeof injectionMode>,
  now: number,
): Finding | undefined {
  if (mode === undefined) return undefined
  if (pod.asks && !pod.hasSidecar) return 'InjectionMissing'
  const waited = pod.hasSidecar && pod.gateSince !== undefined ? now - pod.gateSince : 0
  return waited > GATE_PATIENCE_MS ? 'GateWaiting' : undefined
}

/** Whether there is, or may soon be, something to say about it: of most pods of a cluster there is not. */
export function isRelevant({ asks, hasSidecar, gateSince }: WatchedPod): boolean {
  return (asks && !hasSidecar) || (hasSidecar && gateSince !== undefined)
}

/** Whether it carries the label by which those that were injected are selected. */
export function isLabelled(object: unknown): boolean {
  return isObject(object) && part(part(object.metadata).labels)[KEYS.injected] === 'true'
}

/** Undefined where the object is metadata alone. */
export function phaseOf(object: unknown): string | undefined {
  return isObject(object) && isObject(object.status) ? text(object.status.phase) || 'Pending' : undefined
}

/** People can write the status annotation: whatever is no release of ours becomes one label. */
function releaseOf(status: Json | undefined): string {
  try {
    const { version } = part(JSON.parse(text(status)))
    return typeof version === 'string' && RELEASE.test(version) ? version : 'unknown'
  } catch {
    return 'unknown'
  }
}

const part = (value: unknown): JsonObject => (isObject(value) ? value : {})
const text = (value: Json | undefined): string => (typeof value === 'string' ? value : '')
const objects = (value: Json | undefined): JsonObject[] =>
  Array.isArray(value) ? value.filter(isObject) : []
