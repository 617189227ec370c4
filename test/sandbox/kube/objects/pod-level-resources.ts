/** Resources of a pod as a whole (`spec.resources`, KEP-2837), for cpu and memory; after Kubernetes 1.35. */

import { type JsonObject, listAt, objectAt } from './objects.ts'
import { parseQuantity } from './quantity.ts'
import { type FieldError, fieldError } from './status.ts'

const NAMES = ['cpu', 'memory']
const MILLI = 1000

/** Requests of all containers together (k8s.io/component-helpers/resource, AggregateContainerRequests), in cores and bytes. */
function aggregateRequests(spec: JsonObject, name: string): number | undefined {
  const requests = (list: string) =>
    listAt(spec, list).flatMap((container) => {
      const value = parseQuantity(objectAt(container, 'resources', 'requests')[name])
      return value === undefined ? [] : [{ value, restarts: container.restartPolicy === 'Always' }]
    })
  const [init, containers] = [requests('initContainers'), requests('containers')]
  if (init.length + containers.length === 0) return undefined
  let [sidecars, most] = [0, 0]
  for (const { value, restarts } of init) {
    if (restarts) sidecars += value
    most = Math.max(most, restarts ? sidecars : sidecars + value)
  }
  return Math.max(
    most,
    containers.reduce((sum, { value }) => sum + value, sidecars),
  )
}

function text(name: string, value: number): string {
  const milli = Math.round(value * MILLI)
  return name === 'cpu' && milli % MILLI !== 0 ? `${milli}m` : String(Math.round(value))
}

/** The resources of a new pod (pkg/api/pod, DefaultPodLevelResources): if it has limits, its requests are those of the containers, or else the limits. */
export function defaultPodRequests(spec: JsonObject): JsonObject {
  const limits = objectAt(spec, 'resources', 'limits')
  if (Object.keys(limits).length === 0) return spec
  const requests = { ...objectAt(spec, 'resources', 'requests') }
  for (const name of NAMES) {
    const aggregate = aggregateRequests(spec, name)
    requests[name] ??= aggregate === undefined ? limits[name] : text(name, aggregate)
    if (requests[name] === undefined) delete requests[name]
  }
  return { ...spec, resources: { ...objectAt(spec, 'resources'), requests } }
}

/**
 * pkg/apis/core/validation, validatePodResourceConsistency: it checks only the limits of the containers, not those of init containers
 * and so not of native sidecars.
 */
export function podLevelErrors(spec: JsonObject, at: string): FieldError[] {
  const errors: FieldError[] = []
  const { requests, limits } = {
    requests: objectAt(spec, 'resources', 'requests'),
    limits: objectAt(spec, 'resources', 'limits'),
  }
  for (const name of NAMES) {
    const aggregate = aggregateRequests(spec, name)
    const whole = parseQuantity(requests[name])
    // These are sums of binary fractions, so they are compared as the quantities that are printed.
    if (aggregate !== undefined && whole !== undefined && aggregate - whole > 1e-9)
      errors.push(
        fieldError.invalid(
          `${at}.resources.requests[${name}]`,
          requests[name],
          `must be greater than or equal to aggregate container requests of ${text(name, aggregate)}`,
        ),
      )
    for (const [index, container] of listAt(spec, 'containers').entries()) {
      const limit = objectAt(container, 'resources', 'limits')[name]
      const most = parseQuantity(limits[name])
      const value = parseQuantity(limit)
      if (value !== undefined && most !== undefined && value > most)
        errors.push(
          fieldError.invalid(
            `${at}.resources.containers[${index}][${name}].limits`,
            limit,
            `must be less than or equal to pod limits of ${limits[name]}`,
          ),
        )
    }
  }
  return errors
}
