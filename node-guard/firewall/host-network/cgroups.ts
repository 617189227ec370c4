/** Where the processes of pods are in cgroup v2, by any naming of the kubelet. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Failed, failed } from '../../../common/result.ts'

/** As nft looks cgroups up. */
const CGROUPS = '/sys/fs/cgroup'

export type PodCgroups = {
  /** The cgroup of all pods, as a path below the root, such as `kubepods.slice`. */
  readonly root: string
  /** That of the pod in which this process runs. */
  readonly own: string
}

/** The two names of a pod's cgroup, by the kubelet's drivers systemd and cgroupfs, and its class of service before them. */
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

/** Where the cgroup of a pod can be: which one it is depends on its class of service. */
export function candidates(root: string, uid: string): string[] {
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

/** The directories in which cgroups of pods come and go. */
export function parents(root: string): string[] {
  return [...new Set(candidates(root, '0').map((path) => join(CGROUPS, path, '..')))]
}

/** The kernel's id of a cgroup; undefined where there is none. */
export async function idOf(cgroup: string): Promise<number | undefined> {
  try {
    return (await stat(join(CGROUPS, cgroup))).ino
  } catch {
    return undefined
  }
}

/** Finds the cgroup of a pod, with its id; undefined where it has none (yet, or any more). */
export async function findPod(root: string, uid: string): Promise<{ path: string; id: number } | undefined> {
  for (const path of candidates(root, uid)) {
    const id = await idOf(path)
    if (id !== undefined) return { path, id }
  }
  return undefined
}

/** Content of `/proc/self/cgroup`; empty where there is none. */
export const selfCgroup = () => readFile('/proc/self/cgroup', 'utf8').catch(() => '')
