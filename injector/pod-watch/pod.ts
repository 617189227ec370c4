/** What the watch keeps of a pod, and what is wrong with it. Pure. */
import { type injectionMode, KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { isObject, type Json, metadataOf, objectOf, objectsOf } from '../json.ts'
import { MIRROR_KEY } from '../pod/unsupported.ts'
import { startsAlone, waitingSince } from './start-wait.ts'

export type WatchedPod = {
  readonly uid: string
  readonly namespace: string
  readonly name: string
  /** Empty until the kubelet reports it. */
  readonly ip: string
  /** Whether its annotations request a role or metadata, and it can have a sidecar. */
  readonly asks: boolean
  readonly hasSidecar: boolean
  /** The release that injected it, for a metric; `unknown` where the status annotation is not ours. */
  readonly version: string
  /** Whether its sidecar's start hook, and not a gate, holds back its own containers. */
  readonly startsAlone: boolean
  /** When its gate or its sidecar's start hook began to run, milliseconds since 1970; undefined while it does not. */
  readonly gateSince: number | undefined
}

export type Finding = 'InjectionMissing' | 'GateWaiting'

/** A start usually takes less than two seconds. */
const GATE_PATIENCE_MS = 30_000

const RELEASE = /^\d{1,4}\.\d{1,4}\.\d{1,4}(?:-[0-9a-z.]{1,20})?$/

/** Projects a pod as the API server sends it; undefined if the object is not a pod. Never throws. */
export function watchedPod(object: unknown, roleKey: string): WatchedPod | undefined {
  if (!isObject(object)) return undefined
  const [metadata, spec, status] = [metadataOf(object), objectOf(object.spec), objectOf(object.status)]
  const [uid, namespace, name] = [text(metadata.uid), text(metadata.namespace), text(metadata.name)]
  if (uid === '' || namespace === '' || name === '') return undefined
  const annotations = objectOf(metadata.annotations)
  const isLeaving = metadata.deletionTimestamp !== undefined
  // Mirror pods cannot be changed; annotated pods on the host network exist only where the operator allows them.
  const cannot = annotations[MIRROR_KEY] !== undefined || spec.hostNetwork === true
  const inject = annotations[KEYS.inject]
  const wants = annotations[roleKey] !== undefined || inject === 'metadata'
  const sidecar = objectsOf(spec.initContainers).find((one) => one.name === SIDECAR_CONTAINER)
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
 * What people should know about the pod, if anything.
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

/** Whether there is, or may soon be, a finding about the pod; most pods of a cluster have none. */
export function isRelevant({ asks, hasSidecar, gateSince }: WatchedPod): boolean {
  return (asks && !hasSidecar) || (hasSidecar && gateSince !== undefined)
}

/** Whether a pod has the label of injected pods. */
export function isLabelled(object: unknown): boolean {
  return isObject(object) && objectOf(metadataOf(object).labels)[KEYS.injected] === 'true'
}

/** The pod's phase; undefined if the object has only metadata. */
export function phaseOf(object: unknown): string | undefined {
  return isObject(object) && isObject(object.status) ? text(object.status.phase) || 'Pending' : undefined
}

/** People can write the status annotation, so everything that is not a release of ours becomes one label. */
function releaseOf(status: Json | undefined): string {
  try {
    const { version } = objectOf(JSON.parse(text(status)))
    return typeof version === 'string' && RELEASE.test(version) ? version : 'unknown'
  } catch {
    return 'unknown'
  }
}

const text = (value: Json | undefined): string => (typeof value === 'string' ? value : '')
