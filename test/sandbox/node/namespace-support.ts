/** Whether this process can create the namespaces of a sandbox, found out by creating some. */
import { spawnSync } from 'node:child_process'
import { DEFAULT_PATH, findTool } from './tools.ts'

export type NamespaceSupport =
  /** Everything, including containers under other uids. */
  | { readonly kind: 'root'; readonly limits: readonly string[] }
  /** With a user namespace that has one mapped uid: `limits` says what differs. */
  | { readonly kind: 'userns'; readonly limits: readonly string[] }
  | { readonly kind: 'none'; readonly reason: string }

/** Command → Debian package, for the sentence that says what to install. */
const NEEDED: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  mount: 'mount',
}

/** What differs in a user namespace that maps one uid. */
export const USERNS_LIMITS = [
  'every container runs as the mapped root: runAsUser, runAsGroup, fsGroup and file owners are not applied',
] as const

const TRIAL = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add trial'

let answer: NamespaceSupport | undefined

/** Tries as root first, then with a user namespace. The answer is determined once (about 20 ms) and kept. */
export function namespaceSupport(): NamespaceSupport {
  answer ??= probe()
  return answer
}

/** Options for `test()`: skips with the reason if no namespaces can be created, or only those of a user namespace. */
export function needsNamespaces(kind: 'any' | 'root' = 'any'): { skip?: string } {
  const support = namespaceSupport()
  if (support.kind === 'none') return { skip: support.reason }
  return kind === 'root' && support.kind !== 'root' ? { skip: 'containers with other uids need root' } : {}
}

function probe(): NamespaceSupport {
  if (process.platform !== 'linux') return { kind: 'none', reason: 'network namespaces need Linux' }
  const missing = Object.keys(NEEDED).filter((command) => findTool(command) === undefined)
  if (missing.length > 0) {
    const packages = [...new Set(missing.map((command) => NEEDED[command]))].join(' ')
    return { kind: 'none', reason: `${missing.join(', ')} not found; install ${packages}` }
  }
  const asRoot = process.getuid?.() === 0 ? trial([]) : 'not root'
  if (asRoot === undefined) return { kind: 'root', limits: [] }
  const asUser = trial(USERNS_FLAGS)
  if (asUser === undefined) return { kind: 'userns', limits: USERNS_LIMITS }
  return {
    kind: 'none',
    reason: `this process may not make namespaces (${asRoot}; in a user namespace: ${asUser}); run as root, or allow unprivileged user namespaces`,
  }
}

/** The flags of unshare(1) that create a user namespace in which this process is root. */
export const USERNS_FLAGS: readonly string[] = ['--user', '--map-root-user']

function trial(flags: readonly string[]): string | undefined {
  const unshare = findTool('unshare')
  if (unshare === undefined) return 'unshare not found'
  const result = spawnSync(
    unshare,
    [...flags, '-m', '-p', '-n', '--fork', '--mount-proc', 'sh', '-c', TRIAL],
    {
      env: { PATH: DEFAULT_PATH },
      // A busy machine must not be taken for one without namespaces, because tests would be skipped.
      timeout: 180_000,
      encoding: 'utf8',
    },
  )
  if (result.status === 0) return undefined
  return result.stderr.trim().split('\n')[0] || `unshare ended with ${result.status ?? result.signal}`
}
