/**
 * Environment variables and mounts for the pod's own containers in redirect mode `env`: where the metadata service is and, in pods with
 * container credentials, where to request these and with which secret. Removes what is left from an earlier pass in another mode, or from
 * the pod from which a manifest was copied.
 */
import { posix } from 'node:path'
import { APP_MOUNT } from '../form/volumes.ts'
import { blank, isObject, type JsonObject } from '../json.ts'
import { add, type PatchOp, pointer, remove } from '../json-patch.ts'
import { CONTAINER_ENV, ENDPOINT_ENV, isContainerVariable, SIDECAR_ENDPOINT } from '../pod/endpoint.ts'
import { isMeshContainer } from '../pod/mesh.ts'
import type { Container, EnvVar, Pod } from '../pod/pod.ts'
import { isOurs } from '../pod/reserved.ts'
import type { Addition } from './addition.ts'
import type { Placed } from './placement.ts'

const ENDPOINT = { name: ENDPOINT_ENV, value: SIDECAR_ENDPOINT }

/**
 * The patch of the pod's own containers.
 *
 * @param initContainers in their final order: those after ours get the variables, too; those before ours have no credentials yet
 */
export function appContainerOps(
  { spec }: Pod,
  initContainers: readonly Placed[],
  { redirect, containerCredentials }: Addition,
): PatchOp[] {
  const lastOfOurs = initContainers.findLastIndex(({ container }) => isOurs(container))
  const wasInjected = (spec.initContainers ?? []).some(isOurs)
  const all = [
    ...spec.containers.map((container, index) => ({ container, at: pointer('spec', 'containers', index) })),
    ...initContainers.flatMap(({ container }, index) =>
      index > lastOfOurs ? [{ container, at: pointer('spec', 'initContainers', index) }] : [],
    ),
  ].filter(({ container }) => !isMeshContainer(container))
  return all.flatMap(({ container, at }) => {
    const gets = containerCredentials && !choosesOtherCredentials(container, spec.volumes ?? [])
    const leftover = (entry: EnvVar) =>
      (!gets && isContainerVariable(entry)) || (isEndpoint(entry) && redirect === 'nft' && wasInjected)
    const wanted = [...(redirect === 'env' ? [ENDPOINT] : []), ...(gets ? CONTAINER_ENV : [])]
    return [...environmentOps(container, at, wanted, leftover), ...mountOps(container, at, gets)]
  })
}

const isEndpoint = ({ name, value }: EnvVar) => name === ENDPOINT_ENV && value === SIDECAR_ENDPOINT

function environmentOps(
  { env }: Container,
  at: string,
  wanted: readonly EnvVar[],
  isLeftover: (entry: EnvVar) => boolean,
): PatchOp[] {
  const left: number[] = []
  // A pod may have tens of thousands of variables: nothing is allocated for each.
  env?.forEach((entry, index) => {
    if (isLeftover(entry)) left.push(index)
  })
  const missing = wanted.filter((ours) => !(env ?? []).some(({ name }) => name === ours.name))
  return [
    ...left.reverse().map((index) => remove(`${at}/env/${index}`)),
    ...listOps(`${at}/env`, env, missing),
  ]
}

function mountOps({ volumeMounts }: Container, at: string, gets: boolean): PatchOp[] {
  const ours = (volumeMounts ?? []).findIndex(({ name }) => name === APP_MOUNT.name)
  if (gets) return ours >= 0 ? [] : listOps(`${at}/volumeMounts`, volumeMounts, [APP_MOUNT])
  return ours >= 0 ? [remove(`${at}/volumeMounts/${ours}`)] : []
}

function listOps(path: string, actual: unknown, entries: readonly JsonObject[]): PatchOp[] {
  if (entries.length === 0) return []
  return Array.isArray(actual) ? entries.map((entry) => add(`${path}/-`, entry)) : [add(path, entries)]
}

/**
 * Whether a container itself configures where its credentials come from. SDKs prefer container credentials to the metadata service, so
 * adding them could override what its author wants: other container credentials (ECS, EKS Pod Identity, a vault), another metadata
 * service, or none. Keys and web identity (IRSA) come first in every SDK; with them, container credentials would only hide a mistake.
 */
function choosesOtherCredentials({ env, volumeMounts }: Container, volumes: readonly JsonObject[]): boolean {
  const chooses = (entry: EnvVar) => {
    const { name, value } = entry
    if (name.startsWith('AWS_CONTAINER_')) return !isContainerVariable(entry)
    if (name === ENDPOINT_ENV) return value !== SIDECAR_ENDPOINT
    if (name === 'AWS_EC2_METADATA_DISABLED') return value?.toLowerCase() === 'true'
    return name === 'AWS_ACCESS_KEY_ID' || name === 'AWS_WEB_IDENTITY_TOKEN_FILE'
  }
  return (env ?? []).some(chooses) || (volumeMounts ?? []).some((mount) => conflicts(mount, volumes))
}

/** Volumes that the kubelet fills, and mounts read-only whatever the mount says (`GetAttributes` of each volume plugin). */
const FILLED = ['secret', 'configMap', 'downwardAPI', 'projected'] as const

/**
 * Whether a mount conflicts with ours: at our path or below it, or above it and read-only, where the container runtime cannot create our directory.
 * In the volumes that it fills, the kubelet itself creates the directories of mounts below, if one path as it is written is part of the other
 * (`MakeNestedMountpoints`): not if the one begins with `/run` and the other with `/var/run`, which is a link to it, and not in a `subPath`.
 */
function conflicts(mount: JsonObject, volumes: readonly JsonObject[]): boolean {
  const { name, mountPath, readOnly, subPath, subPathExpr } = mount
  if (name === APP_MOUNT.name) return false
  // The kubelet accepts a path without a slash at its start, too.
  const path = posix.resolve('/', String(mountPath)).replace(/^\/run(?=\/|$)/, '/var/run')
  if (isAtOrBelow(path, APP_MOUNT.mountPath)) return true
  if (!isAtOrBelow(APP_MOUNT.mountPath, path)) return false
  const volume = volumes.find((one) => one.name === name) ?? {}
  const isFilled = FILLED.some((source) => isObject(volume[source]))
  const isCreated =
    isFilled &&
    blank(subPath) &&
    blank(subPathExpr) &&
    isAtOrBelow(APP_MOUNT.mountPath, posix.normalize(String(mountPath)))
  return (readOnly === true || isFilled || isReadOnly(volume)) && !isCreated
}

/** Whether a volume of another kind is mounted read-only by itself: an image, or one with `readOnly` in its source (CSI, a claim, NFS, …). */
const isReadOnly = (volume: JsonObject): boolean =>
  isObject(volume.image) ||
  Object.values(volume).some((source) => isObject(source) && source.readOnly === true)

const isAtOrBelow = (path: string, directory: string): boolean =>
  `${path}/`.startsWith(`${directory.replace(/\/+$/, '')}/`)
