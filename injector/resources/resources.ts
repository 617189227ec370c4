/**
 * Resources of the containers we add: always requests and limits for CPU and memory, because a ResourceQuota
 * refuses pods without (linkerd2#2750) and a HorizontalPodAutoscaler shows `<unknown>` (istio#13977).
 */
import { type Failed, failed } from '../../common/result.ts'
import { isObject, type Json } from '../json.ts'
import { cpuMillis, memoryBytes, RESOURCE_NAMES, type ResourceName } from './quantity.ts'

export type ResourceList = { readonly cpu: string; readonly memory: string }
export type Resources = { readonly requests: ResourceList; readonly limits: ResourceList }
/** Without a gate where the pod starts in one stage. */
export type OwnResources = { readonly sidecar: Resources; readonly gate: Resources | undefined }
/** Resources chosen for the sidecar, for all pods or one; an undefined CPU request follows from the pod (`proportion.ts`). */
export type ChosenResources = {
  readonly requests: { readonly cpu: string | undefined; readonly memory: string }
  readonly limits: ResourceList
}

/** How people write a CPU request that follows from the pod. */
export const AUTO = 'auto'

/** From measured starts of the sidecar and the gate: small requests, and limits that do not slow down Node's start. */
export const SIDECAR_RESOURCES: ChosenResources = {
  requests: { cpu: undefined, memory: '16Mi' },
  limits: { cpu: '500m', memory: '48Mi' },
}
/** The gate runs Node and, for a moment, `nft` beside it. */
const GATE_LIMITS: ResourceList = { cpu: '500m', memory: '64Mi' }
export const MAX_RESOURCES: ResourceList = { cpu: '1', memory: '256Mi' }

/**
 * With lower limits the sidecar is killed at its start, or starts so slowly that the app waits for seconds. The gate needs less: its
 * cgroup peaks at 17 MiB, and it runs with 20.
 */
export const MIN_LIMITS: ResourceList = { cpu: '50m', memory: '32Mi' }
/** CPU of our containers in a Guaranteed pod, which reserves the limit: 500m would cost half a core per pod. */
const GUARANTEED_CPU = '200m'

type ResourcesResult = { readonly ok: true; readonly resources: ChosenResources } | Failed

/**
 * Reads `{"requests": {"cpu", "memory"}, "limits": {…}}`; missing quantities come from `base`. The CPU request may be `auto`.
 *
 * @param max upper bound of every quantity (the operator's `--sidecar-resources-max`)
 * @returns the resources, or the end of a sentence that begins with the place of the text
 */
export function parseResources(text: string, base: ChosenResources, max: ResourceList): ResourcesResult {
  const value = parsed(text)
  if (!isObject(value) || Object.keys(value).some((key) => key !== 'requests' && key !== 'limits'))
    return failed('must be JSON such as {"requests":{"cpu":"5m"},"limits":{"memory":"64Mi"}}')
  for (const [kind, list] of Object.entries(value)) {
    if (!isObject(list)) return failed(`has ${kind} that are not an object`)
    const foreign = Object.entries(list).find(
      ([key, amount]) => !isAuto(kind, key, amount) && readQuantity(key, amount) === undefined,
    )
    if (foreign) return failed(`must give cpu and memory in ${kind} as quantities such as "50m" and "64Mi"`)
  }
  const requests = { ...base.requests, ...(value.requests as Partial<ResourceList>) }
  const cpu = requests.cpu === AUTO ? undefined : requests.cpu
  const resources = {
    requests: { ...requests, cpu },
    limits: { ...base.limits, ...(value.limits as Partial<ResourceList>) },
  }
  for (const name of RESOURCE_NAMES) {
    const [request = '0', limit] = [resources.requests[name], resources.limits[name]]
    if (exceeds(name, limit, max[name])) return failed(`may give at most ${max[name]} of ${name}`)
    if (exceeds(name, MIN_LIMITS[name], limit))
      return failed(`must give a ${name} limit of at least ${MIN_LIMITS[name]}`)
    if (exceeds(name, request, limit)) return failed(`requests more ${name} than its limit of ${limit}`)
  }
  return { ok: true, resources }
}

/** Reads `{"cpu": …, "memory": …}`, the operator's bound. */
export function parseResourceList(text: string): ResourceList | undefined {
  const value = parsed(text)
  if (!isObject(value) || Object.keys(value).length !== 2) return undefined
  const { cpu, memory } = value
  return readQuantity('cpu', cpu) && readQuantity('memory', memory) ? (value as ResourceList) : undefined
}

/**
 * Resources of the gate: those chosen for the sidecar also apply to it. A limit range bounds every container of a pod, so one
 * annotation must bring both containers within its bounds.
 */
export function gateResources({ requests, limits }: ChosenResources): ChosenResources {
  const of = (name: ResourceName) =>
    limits[name] === SIDECAR_RESOURCES.limits[name] ? GATE_LIMITS[name] : limits[name]
  return { requests, limits: { cpu: of('cpu'), memory: of('memory') } }
}

/** Resources with which a Guaranteed pod stays Guaranteed: requests equal to limits. */
export function guaranteed({ limits }: { readonly limits: ResourceList }): Resources {
  const cpu = exceeds('cpu', limits.cpu, GUARANTEED_CPU) ? GUARANTEED_CPU : limits.cpu
  const list = { cpu, memory: limits.memory }
  return { requests: list, limits: list }
}

const isAuto = (kind: string, name: string, amount: Json | undefined) =>
  kind === 'requests' && name === 'cpu' && amount === AUTO

function readQuantity(name: string, amount: Json | undefined): number | undefined {
  // People write `cpu: 1` in YAML, and the API accepts numbers as quantities.
  const text = typeof amount === 'number' ? String(amount) : amount
  if (typeof text !== 'string') return undefined
  return name === 'cpu' ? cpuMillis(text) : name === 'memory' ? memoryBytes(text) : undefined
}

function exceeds(name: ResourceName, amount: string, bound: string): boolean {
  return (readQuantity(name, amount) ?? 0) > (readQuantity(name, bound) ?? 0)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
