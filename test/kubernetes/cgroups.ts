/** The cgroups of the nodes, below one directory in every hierarchy, whichever version of cgroups the machine has. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { eventually } from '../support/until.ts'

const ROOT = '/sys/fs/cgroup'
const REMOVE_MS = 30_000

/** The roots of all hierarchies: one of version 2, or those of version 1. */
export function hierarchies(root = ROOT): string[] {
  if (existsSync(join(root, 'cgroup.controllers'))) return [root]
  return readdirSync(root)
    .map((name) => join(root, name))
    .filter((path) => statSync(path).isDirectory())
}

/** Creates `path` in every hierarchy, with all controllers and processors that its parent has. */
export function makeCgroups(path: string, roots = hierarchies()): void {
  for (const root of roots) {
    let parent = root
    for (const part of path.split('/')) {
      handDown(parent)
      const here = join(parent, part)
      mkdirSync(here, { recursive: true })
      // cpuset of version 1: a group without processors accepts no process.
      for (const file of ['cpuset.cpus', 'cpuset.mems'])
        if (existsSync(join(root, 'cpuset.cpus')))
          writeFileSync(join(here, file), readFileSync(join(parent, file), 'utf8'))
      parent = here
    }
  }
}

/** Version 2: makes the controllers of `parent` available to its children. */
function handDown(parent: string): void {
  const controllers = join(parent, 'cgroup.controllers')
  const children = join(parent, 'cgroup.subtree_control')
  if (!existsSync(controllers)) return
  for (const name of readFileSync(controllers, 'utf8').split(/\s+/).filter(Boolean))
    try {
      writeFileSync(children, `+${name}`)
    } catch {
      // Some controllers exist only in the root; the kubelet names those that it misses.
    }
}

/** Removes `path` in every hierarchy, once its processes are gone. @throws Error when some still exist after half a minute */
export async function removeCgroups(path: string, roots = hierarchies()): Promise<void> {
  for (const root of roots)
    await eventually(
      `the end of ${path}`,
      () => {
        removeTree(join(root, path))
        return true
      },
      { deadlineMs: REMOVE_MS, pollMs: 100 },
    )
}

function removeTree(path: string): void {
  if (!existsSync(path)) return
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeTree(join(path, entry.name))
  rmdirSync(path)
}
