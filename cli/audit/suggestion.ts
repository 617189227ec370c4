/** What a namespace needs so that today's annotations work: its label, and a list that has its roles. Pure. */
import { injectionMode, KEYS } from '../../common/keys.ts'
import { judgeRole, type PolicySettings, parsePatterns } from '../../common/policy.ts'
import { resolveRole } from '../../common/role.ts'
import type { Namespace } from '../product/injector.ts'
import type { Annotated } from './annotated.ts'

export type RoleInUse = {
  /** As it is written. */
  readonly role: string
  readonly workloads: readonly string[]
  /** Whether the namespace's lists allow it today; null where no base role ARN is known, by which its name means a role. */
  readonly allowed: boolean | null
  /** One sentence where it is not allowed. */
  readonly why: string | null
}

export type Suggestion = {
  readonly namespace: string
  readonly roles: readonly RoleInUse[]
  readonly labelled: boolean
  /** The list that it needs; null where today's does. */
  readonly allowedRoles: readonly string[] | null
  readonly commands: readonly string[]
  /** What no command does. */
  readonly notes: readonly string[]
}

/** Stands where nobody knows the real one, and a list has no ARNs. */
const ANY_BASE = 'arn:aws:iam::000000000000:role/'

/**
 * @param policy `restrictions` are taken to be on: that is what the lists are for
 * @param untouched namespaces that the injector leaves alone
 */
export function suggestionFor(
  namespace: Namespace,
  annotated: readonly Annotated[],
  policy: PolicySettings,
  untouched: readonly string[],
): Suggestion {
  const { name } = namespace
  const [onHost, own] = [true, false].map((isHost) => annotated.filter((one) => one.isHostNetwork === isHost))
  const roles = [...Map.groupBy(own ?? [], ({ role }) => role)].map(([role, users]) => ({
    role,
    workloads: users.map(({ workload: { kind, name } }) => `${kind}/${name}`),
    ...allows(role, namespace, policy),
  }))
  const labelled = injectionMode(namespace.labels) !== undefined
  const missing = roles.filter(({ allowed }) => allowed === false).map(({ role }) => role)
  const allowedRoles = missing.length === 0 ? null : listWith(missing, namespace)
  const commands = [
    ...(allowedRoles === null
      ? []
      : [
          `kubectl annotate --overwrite namespace ${name} ${quote(`${KEYS.allowedRoles}=${JSON.stringify(allowedRoles)}`)}`,
        ]),
    ...(labelled || roles.length === 0 ? [] : [`kubectl label namespace ${name} ${KEYS.injection}=enabled`]),
  ]
  return {
    ...{ namespace: name, roles, labelled, allowedRoles, commands },
    notes: notesFor(namespace, onHost ?? [], roles, untouched),
  }
}

function allows(
  role: string,
  namespace: Namespace,
  policy: PolicySettings,
): Pick<RoleInUse, 'allowed' | 'why'> {
  const resolved = resolveRole(role, policy.base ?? ANY_BASE)
  if (!resolved.ok) return { allowed: false, why: resolved.detail }
  const settings = { ...policy, restrictions: true, base: policy.base ?? ANY_BASE }
  const judgement = judgeRole(resolved.role, namespace, settings)
  if (judgement.ok) return { allowed: true, why: null }
  // A pattern that is an ARN, or kiam's regexp, is about a role that a bare name does not tell.
  const isUncertain = policy.base === undefined && !role.startsWith('arn:') && hasArns(namespace)
  return isUncertain ? { allowed: null, why: null } : { allowed: false, why: judgement.detail }
}

function hasArns({ annotations }: Namespace): boolean {
  if (annotations[KEYS.permitted] !== undefined) return true
  return (parsePatterns(annotations[KEYS.allowedRoles] ?? '') ?? []).some((one) => one.startsWith('arn:'))
}

/** Today's entries stay; a list that cannot be read allows nothing, so it is replaced. */
function listWith(missing: readonly string[], { annotations }: Namespace): string[] {
  const today = parsePatterns(annotations[KEYS.allowedRoles] ?? '[]') ?? []
  const wanted = missing
    .filter((role) => resolveRole(role, ANY_BASE).ok)
    .map((role) => role.replace(/^\//, ''))
  return [...new Set([...today, ...wanted])]
}

function notesFor(
  { name, labels, annotations }: Namespace,
  onHost: readonly Annotated[],
  roles: readonly RoleInUse[],
  untouched: readonly string[],
): string[] {
  const named = onHost.map(({ workload }) => `${workload.kind}/${workload.name}`).join(', ')
  const level = labels['pod-security.kubernetes.io/enforce']
  const isMode = level === 'baseline' || level === 'restricted'
  const isKiams = annotations[KEYS.permitted] !== undefined && roles.some(({ allowed }) => allowed === false)
  return [
    ...(named === ''
      ? []
      : [`on the host network, where the annotation does nothing and is refused or warned of: ${named}`]),
    ...(untouched.includes(name) && roles.length > 0
      ? [
          name === 'kube-system'
            ? 'it is left alone until injector.allowKubeSystem=true'
            : 'the injector leaves it alone: injector.excludeNamespaces',
        ]
      : []),
    ...(isMode && roles.length > 0
      ? [
          `it enforces PodSecurity ${level}, so its pods get mode env: SDKs work, programs with 169.254.169.254 in them do not`,
        ]
      : []),
    ...(isKiams
      ? [`annotation ${KEYS.permitted} has to allow these roles as well: both must, where both are there`]
      : []),
    ...roles
      .filter(({ role }) => !resolveRole(role, ANY_BASE).ok)
      .map(
        ({ role, why, workloads }) =>
          `${workloads.join(', ')} cannot work with role ${JSON.stringify(role)}: ${why}`,
      ),
  ]
}

/** For a shell. */
const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`
