/** Kinds of pods that cannot have a sidecar and their own role. */
import { SIDECAR_HEALTH_PORT, SIDECAR_PORT } from '../../common/addresses.ts'
import { quote } from '../../common/role.ts'
import { isObject, type Json, objectOf } from '../json.ts'
import type { Reason } from '../reasons.ts'
import type { Pod } from './pod.ts'

export type Obstacle = { readonly reason: Reason; readonly detail: string }

/** The first obstacle in the pod, if any. */
export function unsupported(pod: Pod): Obstacle | undefined {
  if (pod.spec.hostNetwork === true) return { reason: 'host-network', detail: '' }
  if (isWindows(pod)) return { reason: 'windows', detail: '' }
  if (isFargate(pod)) return { reason: 'fargate', detail: '' }
  return portClash(pod)
}

/** The annotation of a pod that the kubelet made from a file. */
export const MIRROR_KEY = 'kubernetes.io/config.mirror'

/** A pod that the kubelet made from a manifest file on its node, mirrored into the API. */
export function isMirrorPod(pod: Pod): boolean {
  return pod.metadata?.annotations?.[MIRROR_KEY] !== undefined
}

const OS_LABELS = ['kubernetes.io/os', 'beta.kubernetes.io/os']

function isWindows({ spec }: Pod): boolean {
  if (isObject(spec.os) && spec.os.name === 'windows') return true
  if (OS_LABELS.some((label) => spec.nodeSelector?.[label] === 'windows')) return true
  // Node selector terms are alternatives: only when each one demands Windows must the pod be a Windows pod.
  const terms = path(
    spec.affinity,
    'nodeAffinity',
    'requiredDuringSchedulingIgnoredDuringExecution',
    'nodeSelectorTerms',
  )
  return Array.isArray(terms) && terms.length > 0 && terms.every(demandsWindows)
}

function demandsWindows(term: Json): boolean {
  const expressions = path(term, 'matchExpressions')
  return (
    Array.isArray(expressions) &&
    expressions.some(
      (one) =>
        isObject(one) &&
        OS_LABELS.includes(String(one.key)) &&
        one.operator === 'In' &&
        Array.isArray(one.values) &&
        one.values.length > 0 &&
        one.values.every((value) => value === 'windows'),
    )
  )
}

/**
 * Fargate profiles choose pods after admission. Before that only what people write to get there, and what Fargate's own webhook
 * leaves, can be seen (app-mesh-roadmap#158: NET_ADMIN is refused, there are no DaemonSets).
 */
function isFargate({ metadata, spec }: Pod): boolean {
  return (
    metadata?.labels?.['eks.amazonaws.com/fargate-profile'] !== undefined ||
    spec.schedulerName === 'fargate-scheduler' ||
    spec.nodeSelector?.['eks.amazonaws.com/compute-type'] === 'fargate'
  )
}

function portClash({ spec }: Pod): Obstacle | undefined {
  for (const { name, ports } of [...spec.containers, ...(spec.initContainers ?? [])])
    for (const { containerPort, protocol } of ports ?? [])
      if (
        (containerPort === SIDECAR_PORT || containerPort === SIDECAR_HEALTH_PORT) &&
        (protocol === undefined || protocol === null || protocol === 'TCP')
      )
        return { reason: 'port-clash', detail: `container ${quote(name)} listens on port ${containerPort}` }
  return undefined
}

function path(value: Json | undefined, ...keys: readonly string[]): Json | undefined {
  return keys.reduce<Json | undefined>((at, key) => objectOf(at)[key], value)
}
