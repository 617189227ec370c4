/** Finds the cgroups of pods in cgroup v2, whichever names the kubelet gives them. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Failed, failed } from '../../../common/result.ts'

/** Where nft looks cgroups up. */
const CGROUPS = '/sys/fs/cgroup'

export type PodCgroups = {
  /** The cgroup of all pods, as a path below the root, such as `kubepods.slice`. */
  readonly root: string
  /** That of the pod in which this process runs. */
  readonly own: string
}

/** The path of a pod's cgroup as the kubelet's drivers systemd and cgroupfs name it, with the pod's QoS class before the last part. */
const POD =
  /^\/(?<root>(?:[\w.@:-]+\/)*?(?:[\w.@:-]*kubepods\.slice|kubepods))(?:\/(?:[\w.@:-]*-)?(?:burstable|besteffort)(?:\.slice)?)?\/(?:[\w.@:-]*-)?pod[0-9a-f_-]+(?:\.slice)?(?=\/|$)/

/**
 * Finds the cgroup of all pods by that of this process, which is in a pod: also below the kubelet's `--cgroup-root`.
 * Where its path is not complete, this process has a cgroup namespace of its own, in which the kernel would count levels
 * from there, and rules would match nothing.
 *
 * @param self content of `/proc/self/cgroup`
 */
export function podCgroups(self: string): ({ readonly ok: true } & PodCgroups) | Failed {
  // First, since a node may have both: container runtimes put the process into v2, too, but that is not where nft looks it up.
  if (/^[1-9]\d*:.*\/(?:[\w.@:-]*-)?kubepods\b/m.test(self))
    return failed(
      'this node has cgroup v1, by which pods on the host network cannot be told from the host: boot it with cgroup v2 (systemd.unified_cgroup_hierarchy=1)',
    )
  const path = /^0::(.*)$/m.exec(self)?.[1]
  const found = path === undefined ? undefined : POD.exec(path)
  const root = found?.groups?.root
  if (found && root !== undefined) return { ok: true, root, own: found[0].slice(1) }
  return failed(
    `the cgroup of this process, ${JSON.stringify(path ?? 'unknown')}, is not that of a pod as the node sees it: this container must be in the node's cgroup namespace (guard.hostNetwork of the chart makes it so), and the kubelet must run with --cgroups-per-qos`,
  )
}

/** The paths at which the cgroup of a pod can be; which one it is depends on the pod's QoS class. */
export function candidatePaths(root: string, uid: string): string[] {
  const name = root.slice(root.lastIndexOf('/') + 1)
  const classes = ['', 'burstable', 'besteffort']
  if (!name.endsWith('.slice')) return classes.map((each) => join(root, each, `pod${uid}`))
  const base = name.slice(0, -'.slice'.length)
  const pod = `pod${uid.replaceAll('-', '_')}.slice`
  return classes.map((each) =>
    each === ''
      ? join(root, `${base}-${pod}`)
      : join(root, `${base}-${each}.slice`, `${base}-${each}-${pod}`),
  )
}

/** The directories in which cgroups of pods are created and removed. */
export function parentDirectories(root: string): string[] {
  return [...new Set(candidatePaths(root, '0').map((path) => join(CGROUPS, path, '..')))]
}

/** The kernel's id of a cgroup (its inode number); undefined if it does not exist. */
export async function cgroupId(cgroup: string): Promise<number | undefined> {
  try {
    return (await stat(join(CGROUPS, cgroup))).ino
  } catch {
    return undefined
  }
}

/** Finds the cgroup of a pod, with its id; undefined where it has none (yet, or any more). */
export async function findPodCgroup(
  root: string,
  uid: string,
): Promise<{ path: string; id: number } | undefined> {
  for (const path of candidatePaths(root, uid)) {
    const id = await cgroupId(path)
    if (id !== undefined) return { path, id }
  }
  return undefined
}

/** Content of `/proc/self/cgroup`; empty if it cannot be read. */
export const selfCgroup = () => readFile('/proc/self/cgroup', 'utf8').catch(() => '')
