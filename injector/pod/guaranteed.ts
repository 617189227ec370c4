import { isObject, objectOf } from '../json.ts'
import { amountOf, RESOURCE_NAMES } from '../resources/quantity.ts'
import type { Pod } from './pod.ts'
import { isOurs } from './reserved.ts'
import { hasPodLevelResources } from './resource-totals.ts'

/**
 * Whether the pod's own containers make it Guaranteed: for CPU and memory, limits everywhere, and requests, where
 * given, equal to them (kubelet's ComputePodQOS counts init containers too). Where the pod as a whole has resources, only those
 * count, and no container of ours can change it.
 */
export function isGuaranteed(pod: Pod): boolean {
  if (hasPodLevelResources(pod)) return false
  const own = [...(pod.spec.initContainers ?? []), ...pod.spec.containers].filter((one) => !isOurs(one))
  return own.every(({ resources }) => {
    if (!isObject(resources) || !isObject(resources.limits)) return false
    const { limits } = resources
    const requests = objectOf(resources.requests)
    return RESOURCE_NAMES.every((name) => {
      const limit = amountOf(name, limits[name])
      if (limit === undefined || limit === 0) return false
      return requests[name] === undefined || amountOf(name, requests[name]) === limit
    })
  })
}
