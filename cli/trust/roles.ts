/** Which roles the cluster requests from STS, and how. */
import { CREDENTIAL_SOURCES, sourceOfNamespace } from '../../common/credential-source.ts'
import { injectionMode, KEYS } from '../../common/keys.ts'
import { parseRoleArn, resolveRole } from '../../common/role.ts'
import type { Annotated } from '../audit/annotated.ts'
import { type BrokerSettings, trustStatement } from '../product/broker.ts'
import type { Namespace } from '../product/injector.ts'

export type Statement = {
  readonly Effect: string
  readonly Principal?: { readonly AWS: string }
  readonly Action: string | readonly string[]
  readonly Resource?: readonly string[]
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>
}

export type RoleTrust = {
  /** The full ARN, or the text of the annotation if no base role ARN is known. */
  readonly role: string
  readonly isArn: boolean
  readonly usedBy: readonly string[]
  readonly namespaces: readonly string[]
  /** The statement that its trust policy needs. */
  readonly statement: Statement
}

export type TrustSettings = {
  /** ARN of the caller of STS: the node role, or the stable hop. */
  readonly caller: string
  /** Undefined if it is not known: bare names then stay as they are. */
  readonly base: string | undefined
  readonly broker:
    | Pick<
        BrokerSettings,
        'sessionTags' | 'extraSessionTags' | 'sourceIdentity' | 'sessionScope' | 'credentialSources'
      >
    | undefined
  /** Whether only sessions of the namespaces that use it are trusted. */
  readonly byNamespace: boolean
  readonly defaultRole: string | undefined
}

type Use = {
  readonly role: string
  readonly namespace: string
  readonly by: string
  readonly hasExternalId: boolean
}

export type Roles = {
  /** Roles that the node role or the stable hop assumes. */
  readonly byNodeRole: RoleTrust[]
  /** ARNs of roles that pods assume with web identity: their trust policies name the cluster's issuer instead. */
  readonly byWebIdentity: string[]
}

/** One entry for each role; names that cannot be a role are left out. */
export function rolesInUse(
  annotated: readonly Annotated[],
  namespaces: readonly Namespace[],
  settings: TrustSettings,
): Roles {
  const named = annotated
    .filter(({ isHostNetwork }) => !isHostNetwork)
    .map(({ workload, role, hasExternalId }) => ({
      role,
      namespace: workload.namespace,
      by: `${workload.namespace} ${workload.kind}/${workload.name}`,
      hasExternalId,
    }))
  const uses = [...named, ...defaults(namespaces, settings.defaultRole)].flatMap((use) => {
    const role = arnOf(use.role, settings.base)
    return role === undefined ? [] : [{ ...use, role }]
  })
  const federated = new Set(
    namespaces.filter((one) => takesWebIdentity(one, settings)).map(({ name }) => name),
  )
  const [others = [], own = []] = [true, false].map((wanted) =>
    uses.filter(({ namespace }) => federated.has(namespace) === wanted),
  )
  return {
    byNodeRole: [...Map.groupBy(own, ({ role }) => role)]
      .map(([role, all]) => trustOf(role, all, settings))
      .sort((one, other) => one.role.localeCompare(other.role)),
    byWebIdentity: [...new Set(others.map(({ role }) => role))].sort(),
  }
}

/** If the broker's settings are not known, the namespace's annotation counts. */
function takesWebIdentity(namespace: Namespace, { broker }: TrustSettings): boolean {
  const chosen = sourceOfNamespace(namespace, broker?.credentialSources ?? CREDENTIAL_SOURCES)
  return chosen.ok && chosen.source === 'web-identity'
}

function defaults(namespaces: readonly Namespace[], defaultRole: string | undefined): Use[] {
  return namespaces.flatMap(({ name, labels, annotations }) => {
    const role = annotations[KEYS.defaultRole] ?? defaultRole
    if (injectionMode(labels) !== 'all' || role === undefined) return []
    return [{ role, namespace: name, by: `${name} (default role)`, hasExternalId: false }]
  })
}

function arnOf(text: string, base: string | undefined): string | undefined {
  if (base === undefined && !text.startsWith('arn:')) return text.replace(/^\//, '')
  const resolved = resolveRole(text, base)
  return resolved.ok ? resolved.role.arn : undefined
}

function trustOf(role: string, uses: readonly Use[], settings: TrustSettings): RoleTrust {
  const { caller, broker, byNamespace } = settings
  const namespaces = [...new Set(uses.map(({ namespace }) => namespace))].sort()
  const hasExternalId = uses.every((use) => use.hasExternalId)
  const { Condition, ...rest } = trustStatement(
    {
      externalId: hasExternalId ? 'set' : undefined,
      tags: broker?.sessionTags || broker?.extraSessionTags.length ? [{ Key: '', Value: '' }] : [],
      sourceIdentity: broker?.sourceIdentity,
    },
    caller,
  )
  const isTight = byNamespace && broker?.sessionScope !== 'role'
  const condition = {
    ...Condition,
    ...(isTight ? { StringLike: { 'sts:RoleSessionName': namespaces.map((name) => `${name}.*`) } } : {}),
  }
  return {
    role,
    isArn: parseRoleArn(role).ok,
    usedBy: [...new Set(uses.map(({ by }) => by))].sort(),
    namespaces,
    statement: { ...rest, ...(Object.keys(condition).length > 0 ? { Condition: condition } : {}) },
  }
}

/** The policy that the node role needs to assume all of them. */
export function nodeStatement(roles: readonly RoleTrust[]): Statement | undefined {
  const [first] = roles
  if (first === undefined) return undefined
  return { Effect: 'Allow', Action: first.statement.Action, Resource: roles.map(({ role }) => role) }
}

/** A policy document. */
export const policy = (statement: Statement) => ({ Version: '2012-10-17', Statement: [statement] })
