/**
 * Pods whose resources are said for the pod as a whole (`spec.resources`, KEP-2837, Kubernetes 1.34; 1.32 with its feature gate). The
 * API server refuses one whose containers together request more than it does (pkg/apis/core/validation, validatePodResourceConsistency),
 * and writes what they request as its request where only limits are given: then not even a millicore is left for a container that a
 * webhook adds. So ours take what is left, down to nothing; the whole pod's request is theirs, too.
 */

import { isObject, type Json } from '../json.ts'
import type { Pod } from './pod.ts'
import { amountOf, quantityText, RESOURCE_NAMES, type ResourceName } from './quantity.ts'
import { isOurs } from './reserved.ts'
import { MIN_LIMITS, type OwnResources, type Resources } from './resources.ts'
import { containerTotal, hasPodLevel, podLevel } from './total.ts'
import type { Obstacle } from './unsupported.ts'

/** The same resources such that they fit into those of the whole pod, where it has any. */
export function fitted(pod: Pod, { sidecar, gate }: OwnResources): OwnResources {
  if (!hasPodLevel(pod)) return { sidecar, gate }
  const left = (name: ResourceName, used: number) => {
    const whole = podLevel(pod, 'requests', name)
    return whole === undefined ? undefined : Math.max(0, whole - used)
  }
  const theirs = (name: ResourceName) => containerTotal(pod, 'requests', name, (one) => !isOurs(one)) ?? 0
  // What runs beside the gate: our sidecar, and at most all native sidecars of the pod.
  const theirSidecars = (name: ResourceName) =>
    containerTotal(
      { spec: { ...pod.spec, containers: [] } },
      'requests',
      name,
      (one) => !isOurs(one) && one.restartPolicy === 'Always',
    ) ?? 0
  const fittedSidecar = within(pod, sidecar, (name) => left(name, theirs(name)))
  const beside = (name: ResourceName) =>
    theirSidecars(name) + (amountOf(name, fittedSidecar.requests[name]) ?? 0)
  return { sidecar: fittedSidecar, gate: gate && within(pod, gate, (name) => left(name, beside(name))) }
}

/**
 * What the API server takes for requests of the whole pod where nobody says any: the limits. From Kubernetes 1.37 on it looks only after
 * the webhooks (PodLevelResourcesFixDefaulting), and finds what ours request: a pod of 1 CPU would be scheduled as one of 5m, and be
 * Burstable instead of Guaranteed. So they are written out before.
 */
export function impliedRequests(pod: Pod): Readonly<Record<string, Json>> {
  const { resources } = pod.spec
  if (!isObject(resources) || !isObject(resources.limits)) return {}
  const requests = isObject(resources.requests) ? resources.requests : {}
  const { limits } = resources
  const implied: Record<string, Json> = {}
  for (const name of RESOURCE_NAMES) {
    const limit = limits[name]
    const isSaid = requests[name] !== undefined && requests[name] !== null
    const theirs = containerTotal(pod, 'requests', name, (one) => !isOurs(one))
    if (limit !== undefined && limit !== null && !isSaid && theirs === undefined) implied[name] = limit
  }
  return implied
}

/** A limit of the whole pod below which ours cannot start. Where they are there already, whoever added them knew. */
export function tooLittle(pod: Pod): Obstacle | undefined {
  if (pod.spec.initContainers?.some(isOurs)) return undefined
  for (const name of RESOURCE_NAMES) {
    const limit = podLevel(pod, 'limits', name)
    if (limit === undefined || limit >= (amountOf(name, MIN_LIMITS[name]) ?? 0)) continue
    const detail =
      `the pod as a whole may use ${quantityText(name, limit)} of ${name}, and the sidecar alone needs a limit of ${MIN_LIMITS[name]} ` +
      `to start: raise spec.resources.limits.${name}`
    return { reason: 'pod-resources-too-small', detail }
  }
  return undefined
}

function within(pod: Pod, own: Resources, left: (name: ResourceName) => number | undefined): Resources {
  const limits = { ...own.limits }
  const requests = { ...own.requests }
  for (const name of RESOURCE_NAMES) {
    limits[name] = least(name, limits[name], podLevel(pod, 'limits', name))
    // Always written: a container's limit without a request would become its request.
    requests[name] = least(name, requests[name], left(name), amountOf(name, limits[name]))
  }
  return { requests, limits }
}

/** The quantity as it is written where nothing is below it. */
function least(name: ResourceName, text: string, ...bounds: readonly (number | undefined)[]): string {
  const known = bounds.filter((bound) => bound !== undefined)
  const bound = Math.min(...known)
  return (amountOf(name, text) ?? 0) > bound ? quantityText(name, bound) : text
}
