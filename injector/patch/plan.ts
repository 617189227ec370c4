/**
 * The minimal JSON Patch that adds what a pod wantsRelist: parents first. It never removes or replaces what others wrote, and of our own
 * only what is wrong. For a pod that has everything it is empty, which makes reinvocation harmless.
 */
import { CONTAINER_TOKEN_VOLUME, WEB_IDENTITY_VOLUME } from '../../common/keys.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { isObject } from '../json.ts'
import { add, type PatchOp, pointer, remove } from '../json-patch.ts'
import type { Container, Pod } from '../pod/pod.ts'
import { impliedRequests } from '../pod/pod-level.ts'
import { kindOf } from '../pod/reserved.ts'
import type { Addition } from './addition.ts'
import { appContainerOps } from './app-containers.ts'
import { orderedInitContainers, type Placed } from './placement.ts'
import { containerOps, repaired } from './repair.ts'

/** @param pod without foreign content under our names (`foreignContent`) */
export function plan(pod: Pod, addition: Addition, settings: InjectionSettings) {
  const initContainers = pod.spec.initContainers ?? []
  const wantedInitContainers = orderedInitContainers(initContainers, addition).map((placed) =>
    corrected(placed, addition, settings),
  )
  return {
    ops: [
      ...metadataOps(pod, addition),
      ...volumeOps(pod, addition),
      ...initContainerOps(pod, wantedInitContainers),
      ...podLevelOps(pod),
      ...appContainerOps(pod, wantedInitContainers, addition),
    ],
    /** For people: what other tools had added to our containers and is removed. */
    warnings: wantedInitContainers.flatMap(({ container: { name }, removed }) =>
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
    ...surplusVolumes(spec.volumes ?? [], volumes).map((index) => remove(pointer('spec', 'volumes', index))),
    ...parent,
    ...missing.map((volume) => add('/spec/volumes/-', volume)),
  ]
}

type Named = { readonly name: string }

/** Where volumes are that only some pods need, and not this one, as in a manifest copied from another namespace; from the end. */
function surplusVolumes(actual: readonly Named[], wanted: readonly Named[]): number[] {
  const surplus = [WEB_IDENTITY_VOLUME, CONTAINER_TOKEN_VOLUME].filter(
    (volume) => !wanted.some(({ name }) => name === volume),
  )
  return [...actual.keys()].filter((index) => surplus.includes(actual[index]?.name ?? '')).reverse()
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
