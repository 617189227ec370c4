/** Label and field selectors, as text in a query and as `LabelSelector` in an object. */
import { isObject, type JsonObject, type KubeObject, listAt, objectAt, stringAt } from './objects.ts'
import { badRequest } from './status.ts'

type Labels = Readonly<Record<string, string>>
export type Match<T> = (value: T) => boolean

const SET = /^([^\s,=!()]+)\s+(in|notin)\s*\(([^)]*)\)$/
const EQUALITY = /^([^\s,=!()]+)\s*(==|=|!=)\s*([^\s,=!()]*)$/
const EXISTS = /^(!?)\s*([^\s,=!()]+)$/

/** Splits at commas outside parentheses. */
function requirements(text: string): string[] {
  const parts: string[] = []
  let depth = 0
  let part = ''
  for (const char of text) {
    if (char === '(') depth++
    if (char === ')') depth--
    if (char === ',' && depth === 0) {
      parts.push(part.trim())
      part = ''
    } else part += char
  }
  if (part.trim() !== '' || parts.length > 0) parts.push(part.trim())
  return parts
}

function requirement(operator: string, key: string, values: readonly string[]): Match<Labels> {
  switch (operator) {
    case 'In':
      return (labels) => Object.hasOwn(labels, key) && values.includes(labels[key] ?? '')
    // NotIn and != also match where the key is absent (k8s.io/apimachinery/pkg/labels).
    case 'NotIn':
      return (labels) => !Object.hasOwn(labels, key) || !values.includes(labels[key] ?? '')
    case 'Exists':
      return (labels) => Object.hasOwn(labels, key)
    case 'DoesNotExist':
      return (labels) => !Object.hasOwn(labels, key)
    default:
      throw badRequest(`"${operator}" is not a valid label selector operator`)
  }
}

function labelRequirement(text: string): Match<Labels> {
  const set = SET.exec(text)
  if (set !== null) {
    const values = (set[3] ?? '').split(',').map((value) => value.trim())
    return requirement(set[2] === 'in' ? 'In' : 'NotIn', set[1] ?? '', values)
  }
  const equality = EQUALITY.exec(text)
  if (equality !== null)
    return requirement(equality[2] === '!=' ? 'NotIn' : 'In', equality[1] ?? '', [equality[3] ?? ''])
  const exists = EXISTS.exec(text)
  if (exists !== null) return requirement(exists[1] === '!' ? 'DoesNotExist' : 'Exists', exists[2] ?? '', [])
  throw badRequest(`unable to parse requirement: found '${text}'`)
}

/**
 * A selector in query form: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
 *
 * @throws ApiError 400 when it cannot be parsed
 */
export function labelSelector(text: string): Match<KubeObject> {
  const all = requirements(text).map(labelRequirement)
  return (object) => all.every((match) => match(object.metadata.labels ?? {}))
}

/** A `LabelSelector` object; an empty one matches everything, as does a missing one. */
export function matchesLabelSelector(selector: unknown, labels: Labels): boolean {
  if (!isObject(selector)) return true
  const equal = Object.entries(objectAt(selector, 'matchLabels')).every(
    ([key, value]) => labels[key] === value,
  )
  return (
    equal &&
    listAt(selector, 'matchExpressions').every((expression: JsonObject) => {
      const values = Array.isArray(expression.values) ? expression.values.map(String) : []
      return requirement(
        stringAt(expression, 'operator') ?? '',
        stringAt(expression, 'key') ?? '',
        values,
      )(labels)
    })
  )
}

const COMMON_FIELDS = ['metadata.name', 'metadata.namespace']
const EVENT_FIELDS = [
  'kind',
  'namespace',
  'name',
  'uid',
  'apiVersion',
  'resourceVersion',
  'fieldPath',
].flatMap((f) => [`involvedObject.${f}`, `regarding.${f}`])
/** Field labels per `group/plural`, as the real registries define them. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  '/pods': [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.podIPs',
    'status.nominatedNodeName',
  ],
  '/nodes': ['spec.unschedulable'],
  '/namespaces': ['status.phase', 'name'],
  '/secrets': ['type'],
  '/services': ['spec.clusterIP', 'spec.type'],
  '/events': [...EVENT_FIELDS, 'reason', 'type', 'source', 'reportingComponent'],
  'events.k8s.io/events': [...EVENT_FIELDS, 'reason', 'type', 'reportingController'],
  'apps/replicasets': ['status.replicas'],
  'batch/jobs': ['status.successful'],
}

/** Fields that the server knows although they are not in the JSON. */
const DEFAULTS: Readonly<Record<string, string>> = {
  'spec.hostNetwork': 'false',
  'spec.unschedulable': 'false',
}

function fieldValue(object: KubeObject, field: string): string {
  if (field === 'name') return object.metadata.name ?? ''
  let at: unknown = object
  for (const key of field.split('.')) at = isObject(at) ? at[key] : undefined
  return at === undefined || isObject(at) ? (DEFAULTS[field] ?? '') : String(at)
}

export type FieldSelector = {
  readonly matches: Match<KubeObject>
  /** The one name that it selects (`metadata.name=x`), which is checked against RBAC's resourceNames. */
  readonly name: string | undefined
}

/**
 * A field selector in query form: `spec.nodeName=a,status.phase!=Failed`.
 *
 * @param key `group/plural` of the resource: each has its own set of supported fields
 * @throws ApiError 400 when it cannot be parsed or names a field the resource does not index
 */
export function fieldSelector(text: string, key: string): FieldSelector {
  let name: string | undefined
  const all = requirements(text).map((part): Match<KubeObject> => {
    const parsed = /^([^=!]+)(==|=|!=)(.*)$/.exec(part)
    const field = parsed?.[1]?.trim()
    if (parsed === null || field === undefined)
      throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`)
    if (!COMMON_FIELDS.includes(field) && !FIELDS[key]?.includes(field))
      throw badRequest(`field label not supported: ${field}`)
    const [negated, value] = [parsed[2] === '!=', parsed[3] ?? '']
    if (field === 'metadata.name' && !negated) name = value
    return (object) => (fieldValue(object, field) === value) !== negated
  })
  return { matches: (object) => all.every((match) => match(object)), name }
}
