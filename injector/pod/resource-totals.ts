/** Requests and limits of a pod: the sum of its containers, as the API server counts it, and those of the pod as a whole. */
import { isObject, type Json, objectOf } from '../json.ts'
import { amountOf, RESOURCE_NAMES, type ResourceName } from '../resources/quantity.ts'
import type { Container, Pod } from './pod.ts'

export type Kind = 'requests' | 'limits'

/** Which of a pod's containers count; all by default. */
type Counts = (container: Container) => boolean

/**
 * The sum over the pod's containers in millicores or bytes, or undefined if none has an amount. Containers and native sidecars run
 * at the same time, every other init container beside the native sidecars before it (k8s.io/component-helpers/resource,
 * AggregateContainerRequests and AggregateContainerLimits).
 */
export function containerTotal(
  { spec }: Pod,
  kind: Kind,
  name: ResourceName,
  counts: Counts = () => true,
): number | undefined {
  const sum = (containers: readonly Container[]) =>
    containers.filter(counts).flatMap(({ restartPolicy, resources }) => {
      const amount = amountIn(resources, kind, name)
      return amount === undefined ? [] : [{ amount, isSidecar: restartPolicy === 'Always' }]
    })
  const [init, running] = [sum(spec.initContainers ?? []), sum(spec.containers)]
  if (init.length + running.length === 0) return undefined
  let [sidecars, most] = [0, 0]
  for (const { amount, isSidecar } of init) {
    if (isSidecar) sidecars += amount
    most = Math.max(most, isSidecar ? sidecars : sidecars + amount)
  }
  return Math.max(
    most,
    running.reduce((sum, { amount }) => sum + amount, sidecars),
  )
}

/** Whether the pod as a whole has resources (`spec.resources`, KEP-2837), which then decide its quality of service. */
export function hasPodLevelResources({ spec }: Pod): boolean {
  return RESOURCE_NAMES.some((name) =>
    (['requests', 'limits'] as const).some((kind) => listed(spec.resources, kind, name) !== undefined),
  )
}

/**
 * The amount for the whole pod, with the API server's default (pkg/apis/core/v1/defaults.go, defaultPodRequests): where there are limits,
 * a missing request is the sum of the containers' requests, or the limit without any. A template has no defaults yet.
 */
export function podLevelAmount(pod: Pod, kind: Kind, name: ResourceName): number | undefined {
  const { resources } = pod.spec
  const written = listed(resources, kind, name)
  if (written !== undefined || kind === 'limits') return written
  const hasLimits =
    isObject(resources) && isObject(resources.limits) && Object.keys(resources.limits).length > 0
  if (!hasLimits) return undefined
  return containerTotal(pod, 'requests', name) ?? listed(resources, 'limits', name)
}

/** What quotas and limit ranges count: the whole pod's amount, or the sum of its containers'. */
export function podTotal(pod: Pod, kind: Kind, name: ResourceName, counts?: Counts): number | undefined {
  return podLevelAmount(pod, kind, name) ?? containerTotal(pod, kind, name, counts)
}

/** The amount of one container; a limit without a request counts as the request (SetDefaults_Pod). */
export function amountIn(resources: Json | undefined, kind: Kind, name: ResourceName): number | undefined {
  return (
    listed(resources, kind, name) ?? (kind === 'requests' ? listed(resources, 'limits', name) : undefined)
  )
}

function listed(resources: Json | undefined, kind: Kind, name: ResourceName): number | undefined {
  return amountOf(name, objectOf(objectOf(resources)[kind])[name])
}
