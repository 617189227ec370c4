/** What the containers of a pod request and are limited to together, as the API server counts it, and what is said of the whole pod. */
import { isObject, type Json } from '../json.ts'
import type { Container, Pod } from './pod.ts'
import { amountOf, RESOURCE_NAMES, type ResourceName } from './quantity.ts'

export type Kind = 'requests' | 'limits'

/** Which of a pod's containers count; all by default. */
type Counts = (container: Container) => boolean

/**
 * The sum of the pod's containers, or undefined where none says anything: containers and native sidecars run together, each other init
 * container beside the native sidecars in front of it (k8s.io/component-helpers/resource, AggregateContainerRequests and
 * AggregateContainerLimits). Millicores or bytes.
 */
export function containerTotal(
  { spec }: Pod,
  kind: Kind,
  name: ResourceName,
  counts: Counts = () => true,
): number | undefined {
  const said = (containers: readonly Container[]) =>
    containers.filter(counts).flatMap(({ restartPolicy, resources }) => {
      const amount = amountIn(resources, kind, name)
      return amount === undefined ? [] : [{ amount, isSidecar: restartPolicy === 'Always' }]
    })
  const [init, running] = [said(spec.initContainers ?? []), said(spec.containers)]
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

/** Whether the pod as a whole has resources (`spec.resources`, KEP-2837): then these decide its quality of service. */
export function hasPodLevel({ spec }: Pod): boolean {
  return RESOURCE_NAMES.some((name) =>
    (['requests', 'limits'] as const).some((kind) => listed(spec.resources, kind, name) !== undefined),
  )
}

/**
 * What is said of the whole pod, with the default of the API server (pkg/apis/core/v1/defaults.go, defaultPodRequests): where there are
 * limits, a request that is not written is what the containers request together, or else the limit. A template has no defaults yet.
 */
export function podLevel(pod: Pod, kind: Kind, name: ResourceName): number | undefined {
  const { resources } = pod.spec
  const written = listed(resources, kind, name)
  if (written !== undefined || kind === 'limits') return written
  const hasLimits =
    isObject(resources) && isObject(resources.limits) && Object.keys(resources.limits).length > 0
  if (!hasLimits) return undefined
  return containerTotal(pod, 'requests', name) ?? listed(resources, 'limits', name)
}

/** What quotas and limit ranges count: the whole pod's, or its containers' together. */
export function podTotal(pod: Pod, kind: Kind, name: ResourceName, counts?: Counts): number | undefined {
  return podLevel(pod, kind, name) ?? containerTotal(pod, kind, name, counts)
}

/** Of one container; a limit without a request is the request, too (SetDefaults_Pod). */
export function amountIn(resources: Json | undefined, kind: Kind, name: ResourceName): number | undefined {
  return (
    listed(resources, kind, name) ?? (kind === 'requests' ? listed(resources, 'limits', name) : undefined)
  )
}

function listed(resources: Json | undefined, kind: Kind, name: ResourceName): number | undefined {
  const list = isObject(resources) ? resources[kind] : undefined
  return isObject(list) ? amountOf(name, list[name]) : undefined
}
