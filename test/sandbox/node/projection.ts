/** The files of a projected, configMap, secret or downwardAPI volume, with the modes the kubelet gives them. */
import type { ProjectedFile } from './atomic-writer.ts'
import type { ReadData } from './environment.ts'
import { ContainerConfigError } from './errors.ts'
import { fieldValue, type PodAddressing } from './field-ref.ts'
import type { Container, DownwardItem, NamedItems, Pod, ProjectedSource, Volume } from './pod.ts'

type IssuedToken = { readonly token: string; readonly expires: Date }

/** TokenRequest for the pod's service account, bound to the pod. */
export type RequestToken = (audience: string | undefined, expirationSeconds: number) => Promise<IssuedToken>

export type ProjectionSources = {
  readonly read: ReadData
  readonly token: RequestToken
  readonly addressing: PodAddressing
}

export type Projection = {
  readonly files: ReadonlyMap<string, ProjectedFile>
  /** When the first of its tokens expires; undefined without tokens. */
  readonly expires: Date | undefined
}

const DEFAULT_MODE = 0o644
/** The kubelet's default for `serviceAccountToken.expirationSeconds`. */
const DEFAULT_TOKEN_SECONDS = 3600

/** Whether the kubelet writes the volume's content. */
export function isProjection(volume: Volume): boolean {
  return [volume.projected, volume.configMap, volume.secret, volume.downwardAPI].some((v) => v !== undefined)
}

/** @throws ContainerConfigError when something it names does not exist */
export async function project(pod: Pod, volume: Volume, from: ProjectionSources): Promise<Projection> {
  const files = new Map<string, ProjectedFile>()
  let expires: Date | undefined
  const { sources, mode } = sourcesOf(volume)
  for (const source of sources) {
    if (source.serviceAccountToken !== undefined) {
      const { path, audience, expirationSeconds = DEFAULT_TOKEN_SECONDS } = source.serviceAccountToken
      const issued = await from.token(audience, expirationSeconds)
      files.set(path, { data: issued.token, ...tokenMode(pod, mode) })
      if (expires === undefined || issued.expires < expires) expires = issued.expires
    }
    if (source.configMap !== undefined) await addNamed(files, 'configmaps', source.configMap, mode, from.read)
    if (source.secret !== undefined) await addNamed(files, 'secrets', source.secret, mode, from.read)
    for (const item of source.downwardAPI?.items ?? [])
      files.set(item.path, { data: downward(pod, item, from.addressing), mode: item.mode ?? mode })
  }
  return { files, expires }
}

/**
 * `defaultMode` applies to a token only if the pod has no fsGroup and its containers do not all have one user;
 * otherwise the mode is 0600 for that user, or readable by the fsGroup (kubernetes#82573, pkg/volume/projected).
 */
function tokenMode(pod: Pod, defaultMode: number): { mode: number; uid: number | undefined } {
  const uid = commonUser(pod)
  const fsGroup = pod.spec.securityContext?.fsGroup
  return { mode: uid === undefined && fsGroup === undefined ? defaultMode : 0o600, uid }
}

/** The runAsUser that all containers, init containers included, share; undefined when they differ or have none. */
function commonUser(pod: Pod): number | undefined {
  const all: readonly Container[] = [...(pod.spec.initContainers ?? []), ...pod.spec.containers]
  const users = all.map((c) => c.securityContext?.runAsUser ?? pod.spec.securityContext?.runAsUser)
  return users.every((user) => user === users[0]) ? users[0] : undefined
}

function sourcesOf({ projected, configMap, secret, downwardAPI }: Volume) {
  const mode = (projected ?? configMap ?? secret ?? downwardAPI)?.defaultMode ?? DEFAULT_MODE
  const sources: ProjectedSource[] = [...(projected?.sources ?? [])]
  if (configMap !== undefined) sources.push({ configMap })
  if (secret !== undefined) sources.push({ secret: { ...secret, name: secret.secretName } })
  if (downwardAPI !== undefined) sources.push({ downwardAPI })
  return { sources, mode }
}

async function addNamed(
  files: Map<string, ProjectedFile>,
  kind: 'configmaps' | 'secrets',
  { name, items, optional }: NamedItems,
  defaultMode: number,
  read: ReadData,
): Promise<void> {
  const data = await read(kind, name)
  if (data === undefined) {
    if (optional === true) return
    throw new ContainerConfigError(`${kind} "${name}" not found`)
  }
  const wanted = items ?? Object.keys(data).map((key) => ({ key, path: key, mode: undefined }))
  for (const { key, path, mode } of wanted) {
    const value = data[key]
    if (value !== undefined) files.set(path, { data: value, mode: mode ?? defaultMode })
    else if (optional !== true)
      throw new ContainerConfigError(`${kind} "${name}" references non-existent key ${key}`)
  }
}

function downward(pod: Pod, { path, fieldRef }: DownwardItem, addressing: PodAddressing): string {
  if (fieldRef === undefined)
    throw new ContainerConfigError(`downwardAPI ${path}: the sandbox knows fieldRef, not resourceFieldRef`)
  return fieldValue(pod, fieldRef.fieldPath, addressing)
}
