/**
 * The metadata tree: the broker's flat snapshot as EC2's directories. Only the snapshot is served; the
 * real service is never asked.
 */

export type MetadataTree = ReturnType<typeof metadataTree>

/** Never served, whatever a snapshot says: credentials, secrets, and what would let a pod impersonate its node. */
const NEVER = /^(?:iam|identity-credentials|user-data|dynamic\/instance-identity\/(?!document$)[^/]*)(?:\/|$)/

/**
 * Builds the tree.
 *
 * @param snapshot path below `meta-data/`, or `dynamic/…`, to value
 */
export function metadataTree(snapshot: ReadonlyMap<string, string>) {
  const leaves = new Map<string, string>()
  const directories = new Map<string, Set<string>>()
  for (const [key, value] of snapshot) {
    if (NEVER.test(key)) continue
    const path = key.startsWith('dynamic/') ? `/${key}` : `/meta-data/${key}`
    leaves.set(path, value)
    addParents(directories, path)
  }
  return {
    /** Value of a leaf by its path below `/latest`, or undefined. */
    leaf: (path: string) => leaves.get(path),
    /** Names below a directory, sorted, directories with a trailing slash; undefined where there is no directory. */
    children: (path: string) => {
      const names = directories.get(path)
      return names && [...names].sort()
    },
  }
}

function addParents(directories: Map<string, Set<string>>, path: string): void {
  for (let child = path, suffix = ''; child !== ''; suffix = '/') {
    const cut = child.lastIndexOf('/')
    const parent = child.slice(0, cut)
    const names = directories.get(parent) ?? new Set()
    directories.set(parent, names.add(child.slice(cut + 1) + suffix))
    child = parent
  }
}

/** A listing as EC2 prints it: one name a line, no newline at the end. */
export function listing(names: readonly string[]): string {
  return names.join('\n')
}
