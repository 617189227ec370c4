/** The security context of a container of ours: at least as strict as the one that we write. */
import { GATE_CONTAINER } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import { blank, isObject, type JsonObject } from '../json.ts'
import type { Kind } from '../pod/reserved.ts'
import type { RedirectMode } from '../settings.ts'

/** The first field in which a security context is less strict than ours. */
export function securityProblem(kind: Kind, context: unknown, redirect: RedirectMode): string | undefined {
  if (!isObject(context)) return 'securityContext is missing'
  const needsRoot = kind === GATE_CONTAINER && redirect === 'nft'
  const required: Record<string, boolean> = {
    privileged: blank(context.privileged),
    allowPrivilegeEscalation: context.allowPrivilegeEscalation === false,
    readOnlyRootFilesystem: context.readOnlyRootFilesystem === true,
    capabilities: hasOnly(context.capabilities, needsRoot ? ['NET_ADMIN'] : []),
    seccompProfile: isObject(context.seccompProfile) && context.seccompProfile.type !== 'Unconfined',
    runAsNonRoot: needsRoot || context.runAsNonRoot === true,
    runAsUser: needsRoot ? context.runAsUser === 0 : isUser(context.runAsUser),
  }
  const lax = Object.keys(required).find((key) => !required[key])
  if (lax !== undefined) return `securityContext ${lax}`
  const known = new Set([...Object.keys(required), 'runAsGroup'])
  const extra = Object.keys(context).find((key) => !known.has(key) && !isStricter(key, context[key]))
  return extra === undefined ? undefined : `securityContext ${quote(extra)}`
}

/** Whether a field that other tools set in every container only removes rights. */
export function isStricter(key: string, value: JsonObject[string]): boolean {
  if (blank(value)) return true
  if (key === 'procMount') return value === 'Default'
  // OpenShift gives each namespace its own level; a type could be one that SELinux does not confine.
  if (key === 'seLinuxOptions') return isObject(value) && Object.keys(value).every((part) => part === 'level')
  return key === 'appArmorProfile' && isObject(value) && value.type === 'RuntimeDefault'
}

function hasOnly(capabilities: JsonObject[string], added: readonly string[]): boolean {
  if (!isObject(capabilities)) return false
  const { drop, add } = capabilities
  const adds = Array.isArray(add) ? add : []
  return (
    Array.isArray(drop) &&
    drop.includes('ALL') &&
    (blank(add) || Array.isArray(add)) &&
    adds.length === added.length &&
    added.every((name) => adds.includes(name))
  )
}

const isUser = (value: JsonObject[string]) => typeof value === 'number' && value > 0
