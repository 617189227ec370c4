/** Finds LimitRanges that our containers violate, by the rules of the admission plugin LimitRanger (plugin/pkg/admission/limitranger). */
import { KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { type JsonObject, nameOf, objectOf, objectsOf } from '../json.ts'
import { amountIn, podTotal } from '../pod/resource-totals.ts'
import {
  amountOf,
  plainNumber,
  quantityText,
  RESOURCE_NAMES,
  type ResourceName,
} from '../resources/quantity.ts'
import type { OwnResources, Resources } from '../resources/resources.ts'
import type { AddedPod } from './added-pod.ts'

type AnnotatedWith = (annotation: string) => OwnResources | undefined
type Amounts = (kind: 'requests' | 'limits', name: ResourceName) => number | undefined
/** A violated rule, and the words for what violates it: "…, while <name> …". */
type Broken = { readonly rule: string; readonly fault: string }

/** Real LimitRanges have a few entries; a tenant may write thousands. */
const MAX_ITEMS = 20

/**
 * A clause for each LimitRange that refuses the pod because of what we add, with the remedy.
 *
 * @param annotatedWith resources of our containers in the pod with this annotation; undefined if the annotation is invalid
 */
export function brokenLimitRanges(
  limitRanges: readonly JsonObject[],
  added: AddedPod,
  annotatedWith: AnnotatedWith,
): string[] {
  return limitRanges.flatMap((limitRange) => {
    const items = itemsOf(limitRange)
    const container = items.filter(({ type }) => type === 'Container')
    const ofOurs = container.flatMap((item) => ofContainers(item, added))
    const ofAll = items.filter(({ type }) => type === 'Pod').flatMap((item) => ofPod(item, added))
    const clauses = [...new Set([...ofOurs, ...ofAll])]
    if (clauses.length === 0) return []
    const resources = ofAll.length === 0 ? suggestion(container, added, annotatedWith) : undefined
    const other =
      ofAll.length > 0
        ? ', or give the containers less'
        : resources === undefined
          ? ''
          : `, or annotate the pods with ${KEYS.sidecarResources}: ${resources}`
    return [`LimitRange ${nameOf(limitRange)} ${clauses.join(', and ')}: change it${other}`]
  })
}

function itemsOf({ spec }: JsonObject): JsonObject[] {
  return objectsOf(objectOf(spec).limits).slice(0, MAX_ITEMS)
}

function ofContainers(item: JsonObject, { containers }: AddedPod): string[] {
  const found = containers.flatMap(({ name, resources }) =>
    broken(item, (kind, resource) => amountIn(resources, kind, resource)).map((one) => ({ ...one, name })),
  )
  return [...new Set(found.map(({ rule }) => rule))].map((rule) => {
    const faults = found.filter((one) => one.rule === rule).map(({ name, fault }) => `${name} ${fault}`)
    return `allows a container ${rule}, while ${faults.join(' and ')}`
  })
}

/** Only rules that the pod does not violate without our containers. */
function ofPod(item: JsonObject, { without, withOurs }: AddedPod): string[] {
  const before = broken(item, (kind, name) => podTotal(without, kind, name)).map(({ rule }) => rule)
  return broken(item, (kind, name) => podTotal(withOurs, kind, name))
    .filter(({ rule }) => !before.includes(rule))
    .map(({ rule, fault }) => `allows a pod ${rule}, while it ${fault} with ${SIDECAR_CONTAINER}`)
}

function broken(item: JsonObject, amounts: Amounts): Broken[] {
  return RESOURCE_NAMES.flatMap((name) => {
    const [request, limit] = [amounts('requests', name), amounts('limits', name)]
    const { max, min, ratio } = bounds(item, name)
    const text = (amount: number) => quantityText(name, amount)
    const result: Broken[] = []
    if (max !== undefined && limit !== undefined && limit > max)
      result.push({ rule: `at most ${text(max)} of ${name}`, fault: `has a limit of ${text(limit)}` })
    if (min !== undefined && request !== undefined && request < min)
      result.push({ rule: `no less than ${text(min)} of ${name}`, fault: `requests ${text(request)}` })
    if (ratio !== undefined && request !== undefined && limit !== undefined && limit > request * ratio)
      result.push({
        rule: `a limit of ${name} of at most ${ratio} times the request`,
        fault: `has ${text(limit)} to ${text(request)}`,
      })
    return result
  })
}

function bounds(item: JsonObject, name: ResourceName) {
  const of = (list: 'max' | 'min' | 'maxLimitRequestRatio') => objectOf(item[list])[name]
  return {
    max: amountOf(name, of('max')),
    min: amountOf(name, of('min')),
    ratio: plainNumber(of('maxLimitRequestRatio')),
  }
}

/** An annotation with which our containers violate none of the items, verified on the pod; undefined if none is found. */
function suggestion(
  items: readonly JsonObject[],
  added: AddedPod,
  annotatedWith: AnnotatedWith,
): string | undefined {
  const now = added.containers.map(({ resources }) => resources)
  const [sidecar] = now
  if (sidecar === undefined) return undefined
  const wanted = { requests: { ...sidecar.requests }, limits: { ...sidecar.limits } }
  for (const name of RESOURCE_NAMES) {
    const all = items.map((item) => bounds(item, name))
    const max = Math.min(...all.map((one) => one.max ?? Number.POSITIVE_INFINITY))
    const min = Math.max(0, ...all.map((one) => one.min ?? 0))
    const ratio = Math.min(...all.map((one) => one.ratio ?? Number.POSITIVE_INFINITY))
    const limits = now.map((one) => amountOf(name, one.limits[name]) ?? 0)
    const [own = 0] = limits
    const limit = Math.max(...limits) > max ? max : Math.max(own, min)
    if (limit !== own) wanted.limits[name] = quantityText(name, limit)
    // The ratio also applies to the gate, whose limit may be higher with the same request.
    const request = amountOf(name, wanted.requests[name]) ?? 0
    const least = Math.max(min, Math.min(Math.max(...limits), max) / ratio)
    if (request < least) wanted.requests[name] = quantityText(name, Math.ceil(least))
    else if (request > limit) wanted.requests[name] = wanted.limits[name]
  }
  const changed = differences(wanted, sidecar)
  if (Object.keys(changed).length === 0) return undefined
  const annotation = JSON.stringify(changed)
  const own = annotatedWith(annotation)
  const fits = (resources: Resources) =>
    items.every((item) => broken(item, (kind, name) => amountIn(resources, kind, name)).length === 0)
  return own !== undefined && fits(own.sidecar) && (own.gate === undefined || fits(own.gate))
    ? annotation
    : undefined
}

function differences(wanted: Resources, now: Resources): Partial<Record<keyof Resources, JsonObject>> {
  const kinds = (['requests', 'limits'] as const).map((kind) => {
    const names = RESOURCE_NAMES.filter((name) => wanted[kind][name] !== now[kind][name])
    return [kind, Object.fromEntries(names.map((name) => [name, wanted[kind][name]]))] as const
  })
  return Object.fromEntries(kinds.filter(([, list]) => Object.keys(list).length > 0))
}
