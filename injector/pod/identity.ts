/** Who the pod will be, judged at admission with the broker's own rules, so that a mistake is told to who applies. */
import { identityOfAnnotations, type PodIdentity } from '../../common/identity.ts'
import { KEYS } from '../../common/keys.ts'
import { judgeRole } from '../../common/policy.ts'
import { quote, resolveRole } from '../../common/role.ts'
import type { Reason } from '../admission/reasons.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import type { Namespace } from '../kubernetes/namespace.ts'

export type IdentityResult =
  | {
      readonly ok: true
      readonly identity: PodIdentity
      /** For people: the ARN where it is known, else the text, `default` or `none`. */
      readonly shownRole: string
      readonly warnings: readonly string[]
    }
  | { readonly ok: false; readonly reason: Reason; readonly detail: string }

/** STS: `[\w+=,.@:\/-]*`, 2 to 1224 characters. */
const EXTERNAL_ID = /^[\w+=,.@:/-]{2,1224}$/
/** STS's characters for a role session name; the namespace comes in front, so a name may use less than its 64. */
const SESSION_NAME = /^[\w+=,.@-]{1,64}$/
/** Stands in for an unknown base where only the form of a name is checked. */
const ANY_BASE = 'arn:aws:iam::000000000000:role/'

/**
 * Reads and judges role, external id and session name. Names of roles need `--base-role-arn`; without it their
 * form is checked and the rest left to the broker, which a warning says. Of an external id only the form is checked:
 * it is half a secret, and telling whoever reaches this port (an API server shows no client certificate by default)
 * whether the namespace lists it would let them guess it. The broker judges the list, for a pod that exists.
 */
export function admittedIdentity(
  annotations: Readonly<Record<string, string>>,
  namespace: Namespace,
  settings: InjectionSettings,
): IdentityResult {
  const identity = identityOfAnnotations(annotations, settings.roleKey)
  const { externalId, sessionName } = identity
  if (externalId !== undefined && !EXTERNAL_ID.test(externalId))
    return bad(
      'invalid-annotation',
      `annotation ${KEYS.externalId} must be 2 to 1224 of the characters letters, digits and _+=,.@:/-`,
    )
  if (sessionName !== undefined && !SESSION_NAME.test(sessionName))
    return bad(
      'invalid-annotation',
      `annotation ${KEYS.sessionName} must be 1 to 64 of the characters letters, digits and _+=,.@-`,
    )
  const ignored = identity.source === 'none' && annotations[settings.roleKey] !== undefined
  if (ignored)
    return {
      ok: true,
      identity,
      shownRole: 'none',
      warnings: [`${settings.roleKey} has no effect beside ${KEYS.inject}: metadata`],
    }
  return judged(identity, namespace, settings)
}

function judged(identity: PodIdentity, namespace: Namespace, settings: InjectionSettings): IdentityResult {
  const named =
    identity.role ??
    (identity.source === 'default'
      ? (namespace.annotations[KEYS.defaultRole] ?? settings.defaultRole)
      : undefined)
  if (named === undefined) return { ok: true, identity, shownRole: identity.source, warnings: [] }
  const where =
    identity.source === 'annotation'
      ? `annotation ${settings.roleKey}`
      : `default role of namespace ${namespace.name}`
  // The kubelet would expand it in the sidecar's env, while the broker reads it as written.
  if (named.includes('$(')) return bad('invalid-role', `${where}: the role ${quote(named)} contains "$("`)
  const { base } = settings.policy
  const resolved = resolveRole(named, base ?? ANY_BASE)
  if (!resolved.ok) return bad('invalid-role', `${where}: ${resolved.detail}`)
  if (base === undefined && !named.startsWith('arn:'))
    return {
      ok: true,
      identity,
      shownRole: named,
      warnings: [
        `whether namespace ${namespace.name} may use role ${quote(named)} is known only when the pod runs: write its full ARN, or set --base-role-arn of the injector`,
      ],
    }
  const judgement = judgeRole(resolved.role, namespace, settings.policy)
  if (!judgement.ok) return bad('role-not-allowed', judgement.detail)
  return { ok: true, identity, shownRole: resolved.role.arn, warnings: [] }
}

function bad(reason: Reason, detail: string): IdentityResult {
  return { ok: false, reason, detail }
}
