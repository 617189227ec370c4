/** A container's securityContext as the settings of setpriv(1): users, capabilities, no-new-privs. Pure. */
import { ContainerConfigError } from './errors.ts'
import type { Container, Pod } from './pod.ts'

export type ProcessSecurity = {
  readonly uid: number
  readonly gid: number
  /** Supplementary groups. */
  readonly groups: readonly number[]
  /** The bounding set, which a process with uid 0 gets; `all` = privileged. */
  readonly capabilities: 'all' | readonly string[]
  readonly noNewPrivileges: boolean
  readonly readOnlyRoot: boolean
}

/** The capabilities of a container without settings in containerd (docker's default set). */
const DEFAULT_CAPABILITIES = [
  'audit_write',
  'chown',
  'dac_override',
  'fowner',
  'fsetid',
  'kill',
  'mknod',
  'net_bind_service',
  'net_raw',
  'setfcap',
  'setgid',
  'setpcap',
  'setuid',
  'sys_chroot',
] as const

/**
 * Container settings take precedence over the pod's, and the image's user is used last.
 *
 * @param imageUser the USER of the image; default 0
 * @throws ContainerConfigError when runAsNonRoot would run as uid 0 (the kubelet's own sentences)
 */
export function processSecurity(pod: Pod, container: Container, imageUser = 0): ProcessSecurity {
  const ofPod = pod.spec.securityContext ?? {}
  const own = container.securityContext ?? {}
  const asked = own.runAsUser ?? ofPod.runAsUser
  const uid = asked ?? imageUser
  if ((own.runAsNonRoot ?? ofPod.runAsNonRoot) && uid === 0)
    throw new ContainerConfigError(
      asked === undefined
        ? 'container has runAsNonRoot and image will run as root'
        : "container's runAsUser breaks non-root policy",
    )
  const groups = [...(ofPod.supplementalGroups ?? [])]
  if (ofPod.fsGroup !== undefined) groups.push(ofPod.fsGroup)
  return {
    uid,
    gid: own.runAsGroup ?? ofPod.runAsGroup ?? 0,
    groups: [...new Set(groups)],
    capabilities: own.privileged === true ? 'all' : capabilities(own.capabilities),
    noNewPrivileges: own.allowPrivilegeEscalation === false && own.privileged !== true,
    readOnlyRoot: own.readOnlyRootFilesystem === true,
  }
}

function capabilities(asked: { add?: readonly string[]; drop?: readonly string[] } = {}) {
  const add = (asked.add ?? []).map(normalise)
  const drop = (asked.drop ?? []).map(normalise)
  if (add.includes('all') && drop.length === 0) return 'all'
  const base = drop.includes('all') ? [] : DEFAULT_CAPABILITIES
  const kept = base.filter((name) => !drop.includes(name))
  return [...new Set([...kept, ...add.filter((name) => name !== 'all')])].sort()
}

function normalise(name: string): string {
  return name.toLowerCase().replace(/^cap_/, '')
}

/**
 * The arguments with which setpriv(1) applies it. A process that is not root loses its effective capabilities by its
 * own exec, as with runc: the bounding set alone gives it nothing.
 *
 * @param oneUid in a user namespace with a single uid: identity cannot change
 */
export function setprivArguments(security: ProcessSecurity, oneUid: boolean): string[] {
  const { uid, gid, groups, capabilities: caps } = security
  const identity = oneUid
    ? []
    : [
        `--reuid=${uid}`,
        `--regid=${gid}`,
        groups.length > 0 ? `--groups=${groups.join(',')}` : '--clear-groups',
      ]
  return [
    ...identity,
    ...(caps === 'all' ? [] : [`--bounding-set=${['-all', ...caps.map((name) => `+${name}`)].join(',')}`]),
    '--inh-caps=-all',
    ...(security.noNewPrivileges ? ['--no-new-privs'] : []),
  ]
}
