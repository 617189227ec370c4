/**
 * Pods with resources for the pod as a whole (`spec.resources`, KEP-2837, Kubernetes 1.34; 1.32 with its feature gate). The API server
 * refuses a pod whose containers together request more than the whole pod (pkg/apis/core/validation, validatePodResourceConsistency).
 * Where only limits are given, it sets the pod's request to the sum of its containers', so that nothing is left for a container that
 * a webhook adds. So our containers request only what is left, even nothing: the whole pod's request covers them too.
 */
import { isObject, type Json, objectOf } from '../json.ts'
import { amountOf, quantityText, RESOURCE_NAMES, type ResourceName } from '../resources/quantity.ts'
import { MIN_LIMITS, type OwnResources, type Resources } from '../resources/resources.ts'
import type { Pod } from './pod.ts'
import { isOurs } from './reserved.ts'
import { containerTotal, hasPodLevelResources, podLevelAmount } from './resource-totals.ts'
import type { Obstacle } from './unsupported.ts'

/** Fits resources of ours into those of the whole pod, if it has any. */
export function fittedToPod(pod: Pod, { sidecar, gate }: OwnResources): OwnResources {
  if (!hasPodLevelResources(pod)) return { sidecar, gate }
  const left = (name: ResourceName, used: number) => {
    const whole = podLevelAmount(pod, 'requests', name)
    return whole === undefined ? undefined : Math.max(0, whole - used)
  }
  const theirs = (name: ResourceName) => containerTotal(pod, 'requests', name, (one) => !isOurs(one)) ?? 0
  // Beside the gate run our sidecar and at most all native sidecars of the pod.
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
 * The requests of the whole pod that the API server would derive from its limits. From Kubernetes 1.37 on it does so only after the
 * webhooks (PodLevelResourcesFixDefaulting), from the requests of our containers: a pod of 1 CPU would be scheduled as one of 5m, and
 * would be Burstable instead of Guaranteed. So the injector writes them out.
 */
export function impliedRequests(pod: Pod): Readonly<Record<string, Json>> {
  const { resources } = pod.spec
  if (!isObject(resources) || !isObject(resources.limits)) return {}
  const requests = objectOf(resources.requests)
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

/** The obstacle if a limit of the whole pod is too low for our containers to start. A pod that already has them is not judged again. */
export function insufficientLimit(pod: Pod): Obstacle | undefined {
  if (pod.spec.initContainers?.some(isOurs)) return undefined
  for (const name of RESOURCE_NAMES) {
    const limit = podLevelAmount(pod, 'limits', name)
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
    limits[name] = least(name, limits[name], podLevelAmount(pod, 'limits', name))
    // Always written: without a request, a container's limit would become its request.
    requests[name] = least(name, requests[name], left(name), amountOf(name, limits[name]))
  }
  return { requests, limits }
}

/** The lowest of a quantity and the bounds; the quantity as it was written where no bound is lower. */
function least(name: ResourceName, text: string, ...bounds: readonly (number | undefined)[]): string {
  const known = bounds.filter((bound) => bound !== undefined)
  const bound = Math.min(...known)
  return (amountOf(name, text) ?? 0) > bound ? quantityText(name, bound) : text
}
