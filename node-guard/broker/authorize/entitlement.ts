/**
 * Step 6: what a pod may have **now**. A pure function of the pod, its namespace and the node, used for every request and again
 * for everything cached whenever one of them changes.
 */
import type { CredentialSource } from '../../../common/credential-source.ts'
import { KEYS } from '../../../common/keys.ts'
import { judgeAccount, judgeRole, type PolicySettings } from '../../../common/policy.ts'
import { Problem } from '../../../common/protocol.ts'
import { quote, type Role, resolveRole, roleListText } from '../../../common/role.ts'
import { parseSessionPolicies } from '../../../common/session-policies.ts'
import type { NamespaceRecord } from '../kubernetes/namespaces.ts'
import { type PodRecord, podName } from '../kubernetes/pod.ts'
import type { AccountRecord } from '../kubernetes/service-accounts.ts'
import { whyNotExternalId } from './external-id.ts'
import { sessionName, sharedSessionName } from './session-name.ts'
import { type SessionTag, type TagSettings, tagsOf } from './session-tags.ts'
import { sourceIdentityOf } from './source-identity.ts'

/** Exactly what is requested from STS. */
export type SessionRequest = {
  readonly roleArn: string
  readonly externalId: string | undefined
  readonly sessionName: string
  readonly tags: readonly SessionTag[]
  readonly sourceIdentity: string | undefined
  /** ARNs of the managed policies that narrow it; empty: all rights of the role. */
  readonly policyArns: readonly string[]
  readonly durationSeconds: number
  /** Present if the role is assumed with a web identity token instead of credentials: the subject that the token must have. */
  readonly webIdentity?: { readonly subject: string }
}

export type Entitlement = {
  readonly role: Role
  /** Text for the metadata service's role list. */
  readonly roleText: string
  readonly request: SessionRequest
}

/** A role by account and name: within an account a role's name is unique whatever its path, and its case does not count. */
export type RoleIdentity = { readonly account: string; readonly name: string }

export type EntitlementSettings = TagSettings & {
  readonly policy: Omit<PolicySettings, 'base'>
  /** `--default-role` */
  readonly defaultRole: string | undefined
  readonly durationSeconds: number
  readonly sessionScope: 'pod' | 'role'
  /** Template of `--source-identity`. */
  readonly sourceIdentity: string | undefined
  readonly credentialSources: readonly CredentialSource[]
  /** Whether roles may come from service accounts, which may then also narrow what their namespaces allow. */
  readonly serviceAccountRoles: boolean
  readonly nodeName: string
}

/** The base role ARN, and the node's own roles, which no pod may have. */
export type NodeRoles = { readonly base: string | undefined; readonly own: readonly RoleIdentity[] }

/**
 * Whether the namespace is opted in.
 *
 * @throws {Problem} `namespace-not-enabled`
 */
export function checkNamespace(name: string, namespace: NamespaceRecord | undefined): NamespaceRecord {
  if (namespace?.injection) return namespace
  throw new Problem(
    'namespace-not-enabled',
    `namespace ${name} is not opted in: kubectl label namespace ${name} ${KEYS.injection}=enabled`,
  )
}

/**
 * The credential source with which the pod was created, if the operator still allows it.
 *
 * @throws {Problem} `role-not-allowed`
 */
export function checkSource(
  pod: PodRecord,
  { credentialSources }: Pick<EntitlementSettings, 'credentialSources'>,
): CredentialSource {
  const { credentialSource: source } = pod
  if (source !== undefined && credentialSources.includes(source)) return source
  throw refused(
    pod,
    `it was created with ${source === undefined ? 'a credential source of another release' : `the credential source ${source}`}, and ` +
      `this node’s broker has ${credentialSources.join(' and ')} (--credential-sources): delete it, so that it is created again with one of these`,
  )
}

/**
 * What the pod may have: its role, and the request by which that is assumed.
 *
 * @param account its service account, where roles may come from there
 * @throws {Problem} `namespace-not-enabled`, `role-not-set`, `role-not-allowed`, `busy`
 */
export function entitlementOf(
  pod: PodRecord,
  found: NamespaceRecord | undefined,
  node: NodeRoles,
  settings: EntitlementSettings,
  account?: AccountRecord,
): Entitlement {
  const namespace = checkNamespace(pod.namespace, found)
  const source = checkSource(pod, settings)
  const result = resolveRole(roleReference(pod, namespace, settings), node.base)
  if (!result.ok) throw refused(pod, result.detail)
  const { role } = result
  if (node.own.some((own) => isRole(role, own)))
    throw refused(pod, `${quote(role.arn)} is the node’s own role, which no pod may have`)
  const judgement = judgeRole(role, namespace, { ...settings.policy, base: node.base })
  if (!judgement.ok) throw refused(pod, judgement.detail)
  if (settings.serviceAccountRoles) checkAccount(pod, role, account, { ...settings.policy, base: node.base })
  const externalId = pod.identity?.externalId || undefined
  const unfit = whyNotExternalId(externalId, namespace)
  if (unfit) throw refused(pod, unfit)
  if (source === 'web-identity') checkWebIdentity(pod, externalId, settings)
  return {
    role,
    roleText: roleListText(role, node.base),
    request: {
      roleArn: role.arn,
      externalId,
      sessionName: nameSession(pod, settings),
      tags: tagsOf(pod, settings),
      sourceIdentity: settings.sourceIdentity && sourceIdentityOf(settings.sourceIdentity, pod),
      policyArns: sessionPolicies(pod, role),
      durationSeconds: settings.durationSeconds,
      ...(source === 'web-identity' ? { webIdentity: { subject: subjectOf(pod) } } : {}),
    },
  }
}

/** The service account must also allow the role. One that is not known yet, or does not exist any more, allows nothing. */
function checkAccount(
  pod: PodRecord,
  role: Role,
  account: AccountRecord | undefined,
  policy: PolicySettings,
): void {
  const { namespace, serviceAccount: name } = pod
  if (account === undefined)
    throw new Problem('busy', `service account ${namespace}/${name} has not been read yet; retry`, {
      retryAfter: 1,
    })
  if (!account.exists)
    throw refused(
      pod,
      `its service account ${namespace}/${name} does not exist any more, so the roles that it allows are not known: create it again, or delete the pod`,
    )
  const judgement = judgeAccount(role, { namespace, name, list: account.list }, policy)
  if (!judgement.ok) throw refused(pod, judgement.detail)
}

/** The injector already checks this when a pod is applied; here it also covers pods that bypassed it. */
function checkWebIdentity(
  pod: PodRecord,
  externalId: string | undefined,
  { sessionTags, extraSessionTags, sourceIdentity }: EntitlementSettings,
): void {
  if (externalId !== undefined)
    throw refused(
      pod,
      `annotation ${KEYS.externalId} cannot be honoured: AssumeRoleWithWebIdentity, by which its namespace’s pods get their roles, has no external id`,
    )
  const demanded = [
    ...(sessionTags ? ['session tags of --session-tags=true'] : []),
    ...(extraSessionTags.length > 0 ? ['session tags of --extra-session-tags'] : []),
    ...(sourceIdentity === undefined ? [] : ['source identity of --source-identity']),
  ]
  if (demanded.length > 0)
    throw refused(
      pod,
      `the ${demanded.join(' and the ')} cannot be given: AssumeRoleWithWebIdentity, by which its namespace’s pods get their roles, has none of ours`,
    )
}

/** The `sub` claim of the pod's tokens, by which trust policies know it. */
const subjectOf = ({ namespace, serviceAccount }: PodRecord) =>
  `system:serviceaccount:${namespace}:${serviceAccount}`

/** The role that the pod requests, as text. @throws {Problem} without a name or a default: missing knowledge never leads to a fallback */
function roleReference(
  pod: PodRecord,
  namespace: NamespaceRecord,
  { defaultRole: clusterDefault, serviceAccountRoles }: EntitlementSettings,
): string {
  const name = podName(pod)
  switch (pod.identity?.source) {
    case 'annotation':
      return pod.identity.role ?? ''
    case 'service-account':
      if (serviceAccountRoles) return pod.identity.role ?? ''
      throw refused(
        pod,
        'it was created with the role of its service account, and this node’s broker takes no roles from there (--service-account-roles): ' +
          'annotate the pod itself, or wait for the broker if it is being upgraded',
      )
    case 'default': {
      const role = namespace.annotations[KEYS.defaultRole] ?? clusterDefault
      if (namespace.injection === 'all' && role) return role
      throw new Problem(
        'role-not-set',
        `pod ${name} names no role and there is no default for it (annotation ${KEYS.defaultRole} of a namespace labelled ${KEYS.injection}=all)`,
      )
    }
    default:
      throw new Problem('role-not-set', `pod ${name} asked for metadata only`)
  }
}

function nameSession(pod: PodRecord, settings: EntitlementSettings): string {
  if (settings.sessionScope === 'pod') return sessionName(pod, pod.identity?.sessionName)
  if (pod.identity?.sessionName)
    throw refused(
      pod,
      `annotation ${KEYS.sessionName} cannot be honoured: this cluster shares one session per role and node (--session-scope=role)`,
    )
  return sharedSessionName(settings.nodeName)
}

/** The policies with which the pod was created, which narrow its session. */
function sessionPolicies(pod: PodRecord, role: Role): readonly string[] {
  const text = pod.identity?.sessionPolicies
  if (text === undefined) return []
  const parsed = parseSessionPolicies(text, role)
  if (!parsed.ok) throw refused(pod, `annotation ${KEYS.sessionPolicyArns} ${parsed.detail}`)
  return parsed.arns
}

function isRole(role: Role, own: RoleIdentity): boolean {
  const name = role.pathName.slice(role.pathName.lastIndexOf('/') + 1)
  return role.account === own.account && name.toLowerCase() === own.name.toLowerCase()
}

function refused(pod: PodRecord, detail: string): Problem {
  return new Problem('role-not-allowed', `pod ${podName(pod)}: ${detail}`)
}
