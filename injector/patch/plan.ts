/**
 * The minimal JSON Patch that adds what a pod lacks: parents first. It never removes or replaces what others wrote, and of our own
 * only what is wrong. For a pod that has everything it is empty, which makes reinvocation harmless.
 */
import { WEB_IDENTITY_VOLUME } from '../../common/keys.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { isObject } from '../json.ts'
import { ENDPOINT_ENV, SIDECAR_ENDPOINT } from '../pod/endpoint.ts'
import { impliedRequests } from '../pod/level.ts'
import type { Container, Pod } from '../pod/pod.ts'
import { isOurs, kindOf } from '../pod/reserved.ts'
import type { Addition } from './addition.ts'
import { add, type PatchOp, pointer, remove } from './json-patch.ts'
import { isMeshContainer } from './mesh.ts'
import { arrangement, type Placed } from './placement.ts'
import { containerOps, repaired } from './repair.ts'

/** @param pod without foreign content under our names (`foreignContent`) */
export function plan(pod: Pod, addition: Addition, settings: InjectionSettings) {
  const initContainers = pod.spec.initContainers ?? []
  const right = arrangement(initContainers, addition).map((placed) => corrected(placed, addition, settings))
  return {
    ops: [
      ...metadataOps(pod, addition),
      ...volumeOps(pod, addition),
      ...initContainerOps(pod, right),
      ...podLevelOps(pod),
      ...endpointOps(pod, right, addition),
    ],
    /** For people: what other tools had added to our containers and is removed. */
    warnings: right.flatMap(({ container: { name }, removed }) =>
      removed.length === 0
        ? []
        : [`${removed.join(', ')} of another tool was removed from ${name}, which must run unchanged`],
    ),
  }
}

type Corrected = Placed & { readonly wanted: Container; readonly removed: readonly string[] }

function corrected(placed: Placed, addition: Addition, settings: InjectionSettings): Corrected {
  const kind = kindOf(placed.container)
  if (kind === undefined) return { ...placed, wanted: placed.container, removed: [] }
  const wanted = [addition.sidecar, addition.gate].find((one) => one?.name === kind) ?? placed.container
  if (placed.container === wanted) return { ...placed, wanted, removed: [] }
  const { container, removed } = repaired(kind, placed.container, wanted, settings)
  return { ...placed, wanted: container, removed }
}

function metadataOps({ metadata }: Pod, { labels, annotations }: Addition): PatchOp[] {
  const ops = isObject(metadata) ? [] : [add('/metadata', {})]
  for (const [field, entries] of [['labels', labels] as const, ['annotations', annotations] as const]) {
    const actual = metadata?.[field]
    const missing = Object.entries(entries).filter(([key, value]) => actual?.[key] !== value)
    if (missing.length > 0 && !isObject(actual)) ops.push(add(pointer('metadata', field), {}))
    for (const [key, value] of missing) ops.push(add(pointer('metadata', field, key), value))
  }
  return ops
}

function volumeOps({ spec }: Pod, { volumes }: Addition): PatchOp[] {
  const missing = volumes.filter(({ name }) => !(spec.volumes ?? []).some((volume) => volume.name === name))
  const parent = missing.length > 0 && !Array.isArray(spec.volumes) ? [add('/spec/volumes', [])] : []
  return [
    ...surplusTokens(spec.volumes ?? [], volumes).map((index) => remove(pointer('spec', 'volumes', index))),
    ...parent,
    ...missing.map((volume) => add('/spec/volumes/-', volume)),
  ]
}

type Named = { readonly name: string }

/** Where a second token is that the pod does not need, as in a manifest copied from another namespace; from the end. */
function surplusTokens(actual: readonly Named[], wanted: readonly Named[]): number[] {
  if (wanted.some(({ name }) => name === WEB_IDENTITY_VOLUME)) return []
  return [...actual.keys()].filter((index) => actual[index]?.name === WEB_IDENTITY_VOLUME).reverse()
}

/** Before Kubernetes 1.37 the API server has already written these. */
function podLevelOps(pod: Pod): PatchOp[] {
  const implied = Object.entries(impliedRequests(pod))
  if (implied.length === 0) return []
  const { resources } = pod.spec
  const hasRequests = isObject(resources) && isObject(resources.requests)
  const parent = hasRequests ? [] : [add('/spec/resources/requests', {})]
  return [
    ...parent,
    ...implied.map(([name, value]) => add(pointer('spec', 'resources', 'requests', name), value)),
  ]
}

/** First removes those of ours that move, from the end; then adds and repairs in the order of the result. */
function initContainerOps({ spec }: Pod, right: readonly Corrected[]): PatchOp[] {
  const path = (index: number) => pointer('spec', 'initContainers', index)
  const ops = Array.isArray(spec.initContainers) ? [] : [add('/spec/initContainers', [])]
  const staying = new Set(right.map(({ index }) => index))
  const moved = (spec.initContainers ?? []).map((_, index) => index).filter((index) => !staying.has(index))
  for (const index of moved.reverse()) ops.push(remove(path(index)))
  for (const [index, { index: before, container, wanted }] of right.entries()) {
    if (before === undefined) ops.push(add(path(index), wanted))
    else if (container !== wanted) ops.push(...containerOps(path(index), container, wanted))
  }
  return ops
}

/**
 * In redirect mode `env`: the endpoint variable for containers that run after ours, unless a container sets it itself. In mode `nft`
 * only the redirect leads to the sidecar: a variable left by an earlier pass, or by the pod from which a manifest was copied, would
 * bypass it and is removed.
 */
function endpointOps({ spec }: Pod, right: readonly Corrected[], { appEnv }: Addition): PatchOp[] {
  const gateAt = right.findLastIndex(({ container }) => isOurs(container))
  const all = [
    ...spec.containers.map((container, index) => ({ container, at: pointer('spec', 'containers', index) })),
    ...right.flatMap(({ container }, index) =>
      index > gateAt ? [{ container, at: pointer('spec', 'initContainers', index) }] : [],
    ),
  ].filter(({ container }) => !isMeshContainer(container))
  if (appEnv !== undefined)
    return all
      .filter(({ container }) => !(container.env ?? []).some(({ name }) => name === appEnv.name))
      .map(({ container, at }) =>
        Array.isArray(container.env) ? add(`${at}/env/-`, appEnv) : add(`${at}/env`, [appEnv]),
      )
  const wasInjected = (spec.initContainers ?? []).some(isOurs)
  return wasInjected ? all.flatMap(({ container, at }) => leftEndpoints(container, at)) : []
}

function leftEndpoints({ env }: Container, at: string): PatchOp[] {
  const indices = [...(env ?? []).entries()]
    .filter(([, { name, value }]) => name === ENDPOINT_ENV && value === SIDECAR_ENDPOINT)
    .map(([index]) => index)
  return indices.reverse().map((index) => remove(`${at}/env/${index}`))
}
