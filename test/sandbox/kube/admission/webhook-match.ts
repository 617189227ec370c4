/** Whether a webhook matches a request: rules, namespaceSelector, objectSelector. */

import { type JsonObject, listAt, objectAt } from '../objects/objects.ts'
import { matchesLabelSelector } from '../objects/selectors.ts'
import { notFound } from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import type { AdmissionRequest } from './admission.ts'

const NAMESPACES = { group: '', plural: 'namespaces' }
/** Never evaluated by policies, so that nobody is locked out: `isPolicyResource` of the real plugin. */
export const BEYOND_POLICIES = new Set(['validatingadmissionpolicies', 'validatingadmissionpolicybindings'])
/** Never sent to webhooks, for the same reason: `IsExemptAdmissionConfigurationResource`. */
const BEYOND_WEBHOOKS = new Set([
  ...BEYOND_POLICIES,
  'mutatingwebhookconfigurations',
  'validatingwebhookconfigurations',
])
/** Reviews are never sent to webhooks. */
const VIRTUAL_GROUPS = new Set(['authentication.k8s.io', 'authorization.k8s.io'])

const strings = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : [])
const includes = (list: readonly string[], value: string) => list.includes('*') || list.includes(value)

/** `pods`, `pods/*`, `pods/status`, `*` (no sub-resources) and any resource with any sub-resource. */
function resourceMatches(patterns: readonly string[], resource: string, subresource: string): boolean {
  return patterns.some((pattern) => {
    const [wanted = '', sub = ''] = pattern.split('/', 2)
    return (wanted === '*' || wanted === resource) && (sub === '*' || sub === subresource)
  })
}

function ruleMatches(rule: JsonObject, request: AdmissionRequest): boolean {
  const { resource, subresource = '', operation } = request
  const scope = rule.scope ?? '*'
  const namespaced = resource.namespaced ? 'Namespaced' : 'Cluster'
  return (
    includes(strings(rule.operations), operation) &&
    includes(strings(rule.apiGroups), resource.group) &&
    includes(strings(rule.apiVersions), resource.version) &&
    resourceMatches(strings(rule.resources), resource.plural, subresource) &&
    (scope === '*' || scope === namespaced)
  )
}

function namespaceMatches(store: Store, webhook: JsonObject, request: AdmissionRequest): boolean {
  const selector = webhook.namespaceSelector
  if (Object.keys(objectAt(webhook, 'namespaceSelector')).length === 0) return true
  // A Namespace is selected by its own labels; every other cluster-scoped object always matches.
  if (request.resource.plural === 'namespaces') {
    const own = request.object ?? request.oldObject
    return matchesLabelSelector(selector, own?.metadata.labels ?? {})
  }
  if (!request.resource.namespaced || request.namespace === undefined) return true
  const namespace = store.get(NAMESPACES, undefined, request.namespace)
  if (namespace === undefined) throw notFound(NAMESPACES, request.namespace)
  return matchesLabelSelector(selector, namespace.metadata.labels ?? {})
}

function objectMatches(webhook: JsonObject, request: AdmissionRequest): boolean {
  const selector = objectAt(webhook, 'objectSelector')
  if (Object.keys(selector).length === 0) return true
  return [request.object, request.oldObject].some(
    (object) => object !== undefined && matchesLabelSelector(selector, object.metadata.labels ?? {}),
  )
}

/** All conditions except matchConditions. */
export function wants(
  store: Store,
  webhook: JsonObject,
  request: AdmissionRequest,
  exempt: ReadonlySet<string> = BEYOND_WEBHOOKS,
): boolean {
  const { group, plural } = request.resource
  if (exempt.has(plural) || VIRTUAL_GROUPS.has(group)) return false
  return (
    listAt(webhook, 'rules').some((rule) => ruleMatches(rule, request)) &&
    namespaceMatches(store, webhook, request) &&
    objectMatches(webhook, request)
  )
}
