/** Role-based access control: k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac. */
import { type KubeObject, listAt, objectAt, stringAt, type UserInfo } from '../objects/objects.ts'
import type { Store } from '../objects/store.ts'

const GROUP = 'rbac.authorization.k8s.io'
const of = (plural: string) => ({ group: GROUP, plural })

export type Attributes = {
  readonly verb: string
  /** For resources. */
  readonly group?: string
  readonly resource?: string
  readonly subresource?: string | undefined
  readonly namespace?: string | undefined
  readonly name?: string | undefined
  /** For non-resource requests. */
  readonly path?: string
}

type Rule = Record<string, unknown>

function strings(rule: Rule, field: string): string[] {
  const value = rule[field]
  return Array.isArray(value) ? value.map(String) : []
}

const includes = (list: readonly string[], value: string) => list.includes('*') || list.includes(value)

/** `pods` does not cover `pods/status`: a sub-resource needs `pods/status`, an entry for it on any resource, or all. */
function resourceMatches(
  rules: readonly string[],
  resource: string,
  subresource: string | undefined,
): boolean {
  const combined = subresource === undefined ? resource : `${resource}/${subresource}`
  return (
    rules.includes('*') ||
    rules.includes(combined) ||
    (subresource !== undefined && rules.includes(`*/${subresource}`))
  )
}

function pathMatches(rules: readonly string[], path: string): boolean {
  return rules.some((rule) => rule === path || (rule.endsWith('*') && path.startsWith(rule.slice(0, -1))))
}

/** Whether one PolicyRule allows a request. */
function ruleAllows(rule: Rule, attributes: Attributes): boolean {
  if (!includes(strings(rule, 'verbs'), attributes.verb)) return false
  if (attributes.path !== undefined) return pathMatches(strings(rule, 'nonResourceURLs'), attributes.path)
  const names = strings(rule, 'resourceNames')
  return (
    includes(strings(rule, 'apiGroups'), attributes.group ?? '') &&
    resourceMatches(strings(rule, 'resources'), attributes.resource ?? '', attributes.subresource) &&
    (names.length === 0 || (attributes.name !== undefined && names.includes(attributes.name)))
  )
}

function appliesTo(binding: KubeObject, user: UserInfo): boolean {
  return listAt(binding, 'subjects').some((subject) => {
    const name = stringAt(subject, 'name') ?? ''
    switch (stringAt(subject, 'kind')) {
      case 'User':
        return user.username === name
      case 'Group':
        return user.groups.includes(name)
      case 'ServiceAccount': {
        const namespace = stringAt(subject, 'namespace') ?? ''
        return namespace !== '' && user.username === `system:serviceaccount:${namespace}:${name}`
      }
      default:
        return false
    }
  })
}

function rulesOf(store: Store, binding: KubeObject): Rule[] {
  const ref = objectAt(binding, 'roleRef')
  const name = stringAt(ref, 'name') ?? ''
  const role =
    stringAt(ref, 'kind') === 'Role'
      ? store.get(of('roles'), binding.metadata.namespace, name)
      : store.get(of('clusterroles'), undefined, name)
  return listAt(role, 'rules')
}

/** The rules that apply to a user, cluster-wide and in one namespace. */
function rulesFor(store: Store, user: UserInfo, namespace: string | undefined): Rule[] {
  const cluster = store.list(of('clusterrolebindings'))
  const local = namespace === undefined ? [] : store.list(of('rolebindings'), namespace)
  return [...cluster, ...local]
    .filter((binding) => appliesTo(binding, user))
    .flatMap((binding) => rulesOf(store, binding))
}

/** Whether a user may make a request; members of system:masters always may. */
export function authorize(store: Store, user: UserInfo, attributes: Attributes): boolean {
  if (user.groups.includes('system:masters')) return true
  return rulesFor(store, user, attributes.namespace).some((rule) => ruleAllows(rule, attributes))
}

/** The sentence of a refusal, after `… is forbidden: ` (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters). */
export function refusal(user: UserInfo, a: Attributes): string {
  const who = `User "${user.username}" cannot ${a.verb}`
  if (a.path !== undefined) return `${who} path "${a.path}"`
  const resource = a.subresource === undefined ? a.resource : `${a.resource}/${a.subresource}`
  const where =
    a.namespace === undefined || a.namespace === ''
      ? 'at the cluster scope'
      : `in the namespace "${a.namespace}"`
  return `${who} resource "${resource}" in API group "${a.group}" ${where}`
}
