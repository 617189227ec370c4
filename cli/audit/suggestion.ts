/** What a namespace needs so that its current annotations work: the label, and a list that contains its roles. Pure. */
import { injectionMode, KEYS } from '../../common/keys.ts'
import { judgeRole, type PolicySettings, parsePatterns } from '../../common/policy.ts'
import { resolveRole } from '../../common/role.ts'
import type { Namespace } from '../product/injector.ts'
import type { Annotated } from './annotated.ts'

type RoleInUse = {
  /** As written in the annotation. */
  readonly role: string
  readonly workloads: readonly string[]
  /** Whether the namespace's lists allow it at present; null if no base role ARN is known, without which a bare name is not a role. */
  readonly allowed: boolean | null
  /** One sentence if it is not allowed. */
  readonly why: string | null
}

export type Suggestion = {
  readonly namespace: string
  readonly roles: readonly RoleInUse[]
  readonly labelled: boolean
  /** The list that it needs; null if the current one suffices. */
  readonly allowedRoles: readonly string[] | null
  readonly commands: readonly string[]
  /** Problems that no command can fix. */
  readonly notes: readonly string[]
}

/** Used if the real prefix is not known and a list contains no ARNs. */
const ANY_BASE = 'arn:aws:iam::000000000000:role/'

/**
 * @param policy `restrictions` are assumed to be on, because that is what the lists are for
 * @param untouched namespaces that the injector ignores
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
  // A pattern that is an ARN, or kiam's regexp, needs the role's ARN, which does not follow from a bare name.
  const isUncertain = policy.base === undefined && !role.startsWith('arn:') && hasArns(namespace)
  return isUncertain ? { allowed: null, why: null } : { allowed: false, why: judgement.detail }
}

function hasArns({ annotations }: Namespace): boolean {
  if (annotations[KEYS.permitted] !== undefined) return true
  return (parsePatterns(annotations[KEYS.allowedRoles] ?? '') ?? []).some((one) => one.startsWith('arn:'))
}

/** The current entries stay; a list that cannot be parsed allows nothing, so it is replaced. */
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
      : [
          `on the host network, where the annotation has no effect and is refused or causes a warning: ${named}`,
        ]),
    ...(untouched.includes(name) && roles.length > 0
      ? [
          name === 'kube-system'
            ? 'the injector ignores it unless injector.allowKubeSystem=true'
            : 'the injector ignores it because of injector.excludeNamespaces',
        ]
      : []),
    ...(isMode && roles.length > 0
      ? [
          `it enforces PodSecurity ${level}, so its pods get mode env: SDKs work, but programs with a hard-coded 169.254.169.254 do not`,
        ]
      : []),
    ...(isKiams
      ? [
          `annotation ${KEYS.permitted} must allow these roles as well: if a namespace has both annotations, both must allow a role`,
        ]
      : []),
    ...roles
      .filter(({ role }) => !resolveRole(role, ANY_BASE).ok)
      .map(
        ({ role, why, workloads }) =>
          `${workloads.join(', ')} cannot work with role ${JSON.stringify(role)}: ${why}`,
      ),
  ]
}

/** Quotes a text for a shell. */
const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`
