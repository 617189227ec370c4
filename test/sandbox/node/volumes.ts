/** A pod's volumes as directories of the machine; tokens in them are renewed as by the kubelet. */
import { chmodSync, chownSync, existsSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Ownership, writeAtomically } from './atomic-writer.ts'
import { ContainerConfigError } from './errors.ts'
import { type Machine, SANDBOX_DIR } from './machine.ts'
import { makeDirectory } from './make-directory.ts'
import type { Pod, Volume } from './pod.ts'
import { isProjection, type ProjectionSources, project } from './projection.ts'

/** The node's files that hostPath volumes show are below this directory, so that sandboxes and machine are separate. */
const NODE_FILES_DIR = `${SANDBOX_DIR}/node`

/** The kubelet renews a token after 80 % of its life, at the latest after 24 h. */
const RENEW_AFTER = 0.8
const RENEW_LATEST_MS = 24 * 3600 * 1000
const RETRY_MS = 1000

export type PodVolumes = {
  /** Volume name → directory or file in the machine. */
  readonly paths: ReadonlyMap<string, string>
  /** Fetches tokens, ConfigMaps, Secrets and pod fields again and publishes them. */
  readonly refresh: (pod: Pod) => Promise<void>
  readonly close: () => void
}

/**
 * Creates all volumes of a pod.
 *
 * @param directory of the pod, in the machine
 * @throws ContainerConfigError if one cannot be created (yet)
 */
export async function openVolumes(
  machine: Machine,
  directory: string,
  pod: Pod,
  from: ProjectionSources,
): Promise<PodVolumes> {
  let current = pod
  const ownership: Ownership = {
    fsGroup: pod.spec.securityContext?.fsGroup,
    oneUid: machine.kind === 'userns',
  }
  const paths = new Map<string, string>()
  const timers = new Map<string, NodeJS.Timeout>()
  let closed = false

  const publish = async (volume: Volume, path: string): Promise<void> => {
    const { files, expires } = await project(current, volume, from)
    if (closed) return
    writeAtomically(machine.path(path), files, ownership)
    if (expires === undefined) return
    const life = Math.min((expires.getTime() - Date.now()) * RENEW_AFTER, RENEW_LATEST_MS)
    renewAfter(volume, path, life)
  }
  const renewAfter = (volume: Volume, path: string, ms: number): void => {
    clearTimeout(timers.get(volume.name))
    const renew = () => publish(volume, path).catch(() => closed || renewAfter(volume, path, RETRY_MS))
    timers.set(volume.name, setTimeout(renew, Math.max(ms, RETRY_MS)).unref())
  }

  const projections: { volume: Volume; path: string }[] = []
  for (const volume of pod.spec.volumes ?? []) {
    const path = makeVolume(machine, directory, volume, ownership)
    paths.set(volume.name, path)
    if (isProjection(volume)) projections.push({ volume, path })
  }
  const publishAll = async () => {
    await Promise.all(projections.map(({ volume, path }) => publish(volume, path)))
  }
  const close = () => {
    closed = true
    for (const timer of timers.values()) clearTimeout(timer)
  }
  await publishAll().catch((error: unknown) => {
    close()
    throw error
  })
  return {
    paths,
    refresh: async (pod) => {
      current = pod
      await publishAll()
    },
    close,
  }
}

function makeVolume(machine: Machine, directory: string, volume: Volume, ownership: Ownership): string {
  if (volume.hostPath !== undefined) return hostPath(machine, volume.hostPath)
  const path = `${directory}/volumes/${volume.name}`
  const outside = machine.path(path)
  if (volume.emptyDir !== undefined) {
    makeDirectory(outside)
    // The machine's tmpfs is in memory anyway; only the mode differs: 0777, and 1777 for medium Memory (measured).
    const sticky = volume.emptyDir.medium === 'Memory' ? 0o1000 : 0
    const { fsGroup, oneUid } = ownership
    if (fsGroup !== undefined && !oneUid) chownSync(outside, 0, fsGroup)
    chmodSync(outside, 0o777 | sticky | (fsGroup === undefined || oneUid ? 0 : 0o2000))
    return path
  }
  if (!isProjection(volume))
    throw new ContainerConfigError(`volume ${volume.name}: the sandbox does not know this kind of volume`)
  // Created anew for every sandbox of the pod, without the files of an earlier one.
  rmSync(outside, { recursive: true, force: true })
  makeDirectory(outside)
  chmodSync(outside, 0o755)
  if (ownership.fsGroup !== undefined && !ownership.oneUid) {
    chownSync(outside, 0, ownership.fsGroup)
    chmodSync(outside, 0o2755)
  }
  return path
}

function hostPath(machine: Machine, { path, type = '' }: { path: string; type?: string }): string {
  if (/^\/(proc|sys)(\/|$)/.test(path)) return path
  const inside = `${NODE_FILES_DIR}${path.replace(/\/+$/, '')}`
  const outside = machine.path(inside)
  if (existsSync(outside)) return inside
  if (type.startsWith('File')) {
    makeDirectory(dirname(outside))
    writeFileSync(outside, '')
  } else makeDirectory(outside)
  return inside
}
