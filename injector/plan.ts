/**
 * The minimal JSON Patch that turns a pod into one with the addition: `add` only, parents first, no array
 * replaced; a `replace` touches nothing but a field of our own container that somebody took away or changed. On a
 * pod that has everything it is empty, which makes reinvocation harmless.
 */
import type { Addition } from './addition.ts'
import { sameImage } from './image-reference.ts'
import { contains, isObject, type Json, type JsonObject, sameJson } from './json.ts'
import { isMeshContainer, leadingMeshContainers } from './mesh.ts'
import { add, type PatchOp, pointer, replace } from './patch.ts'
import type { Container, Pod } from './pod.ts'

/** @param pod without foreign content under our names (`foreignContent`) */
export function plan(pod: Pod, addition: Addition): PatchOp[] {
  return [
    ...metadataOps(pod, addition),
    ...volumeOps(pod, addition),
    ...containerOps(pod, addition),
    ...envOps(pod, addition),
  ]
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
  return [...parent, ...missing.map((volume) => add('/spec/volumes/-', volume))]
}

/** Sidecar and gate behind leading mesh containers; or, where one of them is left, beside it. */
function containerOps({ spec }: Pod, { sidecar, gate }: Addition): PatchOp[] {
  const { sidecarAt, gateAt, addSidecar, addGate } = positions(spec.initContainers ?? [], sidecar, gate)
  const ops = Array.isArray(spec.initContainers) ? [] : [add('/spec/initContainers', [])]
  if (addSidecar) ops.push(add(pointer('spec', 'initContainers', sidecarAt), sidecar))
  if (addGate) ops.push(add(pointer('spec', 'initContainers', gateAt), gate))
  for (const [index, wanted] of [[sidecarAt, sidecar] as const, [gateAt, gate] as const]) {
    const actual = spec.initContainers?.find(({ name }) => name === wanted.name)
    if (actual !== undefined) ops.push(...repairs(pointer('spec', 'initContainers', index), actual, wanted))
  }
  return ops
}

/** Where sidecar and gate stand after the patch, and where it moves the others to. */
function positions(initContainers: readonly Container[], sidecar: Container, gate: Container) {
  const sidecarNow = initContainers.findIndex(({ name }) => name === sidecar.name)
  const gateNow = initContainers.findIndex(({ name }) => name === gate.name)
  const [addSidecar, addGate] = [sidecarNow < 0, gateNow < 0]
  const front = addGate ? leadingMeshContainers(initContainers) : gateNow
  const sidecarAt = addSidecar ? front : sidecarNow
  const gateAt = addGate ? sidecarAt + 1 : gateNow + Number(addSidecar)
  const moved = (index: number) => {
    const behindSidecar = addSidecar && index >= sidecarAt ? index + 1 : index
    return addGate && behindSidecar >= gateAt ? behindSidecar + 1 : behindSidecar
  }
  return { sidecarAt, gateAt, addSidecar, addGate, moved }
}

/** What other webhooks have stripped from a container of ours or changed in it, put back field by field. */
function repairs(at: string, actual: Container, wanted: Container): PatchOp[] {
  const ops: PatchOp[] = []
  const set = (path: string, now: Json | undefined, value: Json | undefined) => {
    if (value !== undefined && !sameJson(now, value))
      ops.push(now === undefined || now === null ? add(at + path, value) : replace(at + path, value))
  }
  if (!sameImage(wanted.image ?? '', actual.image)) set('/image', actual.image, wanted.image)
  set('/restartPolicy', actual.restartPolicy, wanted.restartPolicy)
  // Resources may be changed by others (VPA, LimitRanger), but must not be absent.
  if (!isObject(actual.resources)) set('/resources', undefined, wanted.resources)
  if (isObject(actual.securityContext)) {
    for (const [key, value] of Object.entries(wanted.securityContext as JsonObject))
      set(pointer('securityContext', key), actual.securityContext[key], value)
  } else set('/securityContext', undefined, wanted.securityContext)
  const missing = (wanted.volumeMounts ?? []).filter(
    (mount) => !(actual.volumeMounts ?? []).some((other) => contains(other, mount)),
  )
  if (missing.length > 0 && !Array.isArray(actual.volumeMounts)) ops.push(add(`${at}/volumeMounts`, []))
  for (const mount of missing) ops.push(add(`${at}/volumeMounts/-`, mount))
  return ops
}

/** Redirect mode `env`: the endpoint variable for what runs after the gate, unless a container sets it itself. */
function envOps({ spec }: Pod, { appEnv, sidecar, gate }: Addition): PatchOp[] {
  if (appEnv === undefined) return []
  const initContainers = spec.initContainers ?? []
  const { gateAt, moved } = positions(initContainers, sidecar, gate)
  const ops: PatchOp[] = []
  const give = (container: Container, at: string) => {
    if (isMeshContainer(container)) return
    if ((container.env ?? []).some(({ name }) => name === appEnv.name)) return
    ops.push(Array.isArray(container.env) ? add(`${at}/env/-`, appEnv) : add(`${at}/env`, [appEnv]))
  }
  for (const [index, container] of spec.containers.entries())
    give(container, pointer('spec', 'containers', index))
  for (const [index, container] of initContainers.entries())
    if (moved(index) > gateAt) give(container, pointer('spec', 'initContainers', moved(index)))
  return ops
}
