/** The identity of a pod, judged at admission by the broker's own rules, so that the person who applies it sees a mistake. */

import { identityOfAnnotations, type PodIdentity, withAccountRole } from '../../common/identity.ts'
import { KEYS } from '../../common/keys.ts'
import { judgeAccount, judgeRole } from '../../common/policy.ts'
import { type Failed, failed } from '../../common/result.ts'
import { quote, type Role, resolveRole } from '../../common/role.ts'
import { parseSessionPolicies } from '../../common/session-policies.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import type { Reason } from '../reasons.ts'
import { accountName, accountRole, listOf, type ServiceAccount } from './account.ts'
import type { Namespace } from './namespace.ts'

export type IdentityResult =
  | {
      readonly ok: true
      readonly identity: PodIdentity
      /** For people: the ARN where it is known, otherwise the text, `default` or `none`. */
      readonly shownRole: string
      readonly warnings: readonly string[]
    }
  | (Failed & { readonly reason: Reason })

/** STS: `[\w+=,.@:\/-]*`, 2 to 1224 characters. */
const EXTERNAL_ID = /^[\w+=,.@:/-]{2,1224}$/
/** STS's characters for a role session name. The namespace is put before it, so a name may use fewer than STS's 64. */
const SESSION_NAME = /^[\w+=,.@-]{1,64}$/
/** Replaces an unknown base where only the syntax of a name or a list is checked. */
export const ANY_BASE = 'arn:aws:iam::000000000000:role/'

/**
 * Reads and judges role, external id, session name and session policies. Role names need `--base-role-arn`: without it only their syntax
 * is checked, the rest is left to the broker, and a warning says so. Of an external id only the syntax is checked: it is half a secret, and if this
 * port said whether the namespace lists it, anybody who reaches the port could guess it (an API server shows no client certificate
 * by default). The broker checks the list, for a pod that exists.
 */
export function admittedIdentity(
  annotations: Readonly<Record<string, string>>,
  namespace: Namespace,
  settings: InjectionSettings,
  account: ServiceAccount | undefined,
): IdentityResult {
  const role = accountRole(account, settings.serviceAccountKey)
  const identity = withAccountRole(identityOfAnnotations(annotations, settings.roleKey), role)
  const { externalId, sessionName } = identity
  if (externalId !== undefined && !EXTERNAL_ID.test(externalId))
    return refused(
      'invalid-annotation',
      `annotation ${KEYS.externalId} must be 2 to 1224 of the characters letters, digits and _+=,.@:/-`,
    )
  if (sessionName !== undefined && !SESSION_NAME.test(sessionName))
    return refused(
      'invalid-annotation',
      `annotation ${KEYS.sessionName} must be 1 to 64 of the characters letters, digits and _+=,.@-`,
    )
  const unfit = sessionPoliciesProblem(identity, undefined) ?? whyNotNarrowed(identity, settings)
  if (unfit !== undefined) return refused('invalid-annotation', unfit)
  const ignored = identity.source === 'none' && annotations[settings.roleKey] !== undefined
  if (ignored)
    return {
      ok: true,
      identity,
      shownRole: 'none',
      warnings: [`${settings.roleKey} has no effect beside ${KEYS.inject}: metadata`],
    }
  return judged(identity, namespace, settings, account)
}

function judged(
  identity: PodIdentity,
  namespace: Namespace,
  settings: InjectionSettings,
  account: ServiceAccount | undefined,
): IdentityResult {
  const named =
    identity.role ??
    (identity.source === 'default'
      ? (namespace.annotations[KEYS.defaultRole] ?? settings.defaultRole)
      : undefined)
  if (named === undefined) return { ok: true, identity, shownRole: identity.source, warnings: [] }
  const where = {
    annotation: `annotation ${settings.roleKey}`,
    'service-account': `annotation ${settings.serviceAccountKey} of ${accountName(account)}`,
    default: `default role of namespace ${namespace.name}`,
    none: '',
  }[identity.source]
  // The kubelet would expand it in the sidecar's env, while the broker reads it as written.
  if (named.includes('$(')) return refused('invalid-role', `${where}: the role ${quote(named)} contains "$("`)
  const { base } = settings.policy
  const resolved = resolveRole(named, base ?? ANY_BASE)
  if (!resolved.ok) return refused('invalid-role', `${where}: ${resolved.detail}`)
  if (base === undefined && !named.startsWith('arn:'))
    return {
      ok: true,
      identity,
      shownRole: named,
      warnings: [
        `whether namespace ${namespace.name} may use role ${quote(named)} is known only when the pod runs: write its full ARN, or set --base-role-arn of the injector`,
      ],
    }
  const isNarrowed = account !== undefined && settings.serviceAccountKey !== undefined
  const judgements = [
    judgeRole(resolved.role, namespace, settings.policy),
    ...(isNarrowed ? [judgeAccount(resolved.role, listOf(account), settings.policy)] : []),
  ]
  for (const judgement of judgements) if (!judgement.ok) return refused('role-not-allowed', judgement.detail)
  const unfit = sessionPoliciesProblem(identity, resolved.role)
  if (unfit !== undefined) return refused('invalid-annotation', unfit)
  return { ok: true, identity, shownRole: resolved.role.arn, warnings: [] }
}

function sessionPoliciesProblem(
  { sessionPolicies }: PodIdentity,
  role: Role | undefined,
): string | undefined {
  const parsed = sessionPolicies === undefined ? undefined : parseSessionPolicies(sessionPolicies, role)
  return parsed === undefined || parsed.ok
    ? undefined
    : `annotation ${KEYS.sessionPolicyArns} ${parsed.detail}`
}

/** Without its policies the pod would have more rights than its author believes, so it waits for the end of the rollout. */
function whyNotNarrowed(
  { sessionPolicies }: PodIdentity,
  { mayWriteNewFields }: InjectionSettings,
): string | undefined {
  return sessionPolicies === undefined || mayWriteNewFields
    ? undefined
    : `annotation ${KEYS.sessionPolicyArns} cannot be honoured while an injector of a release before it is still serving: create the pod again when the rollout is over`
}

function refused(reason: Reason, detail: string): IdentityResult {
  return { ...failed(detail), reason }
}
