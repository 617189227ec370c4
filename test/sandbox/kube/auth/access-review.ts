/** SubjectAccessReview, with which the suites ask both API servers what the rules allow. */
import { isObject, type JsonObject, objectAt, stringAt } from '../objects/objects.ts'
import type { Store } from '../objects/store.ts'
import { type Attributes, authorize } from './rbac.ts'

function attributesOf(spec: JsonObject): Attributes {
  if (isObject(spec.nonResourceAttributes)) {
    const { verb, path } = spec.nonResourceAttributes
    return { verb: String(verb ?? ''), path: String(path ?? '') }
  }
  const of = objectAt(spec, 'resourceAttributes')
  const text = (field: string) => stringAt(of, field) || undefined
  return {
    verb: text('verb') ?? '',
    group: text('group') ?? '',
    resource: text('resource') ?? '',
    subresource: text('subresource'),
    namespace: text('namespace'),
    name: text('name'),
  }
}

export function reviewAccess(store: Store, request: JsonObject): JsonObject {
  const spec = objectAt(request, 'spec')
  const groups = Array.isArray(spec.groups) ? spec.groups.map(String) : []
  const allowed = authorize(store, { username: stringAt(spec, 'user') ?? '', groups }, attributesOf(spec))
  return { ...request, metadata: {}, status: { allowed } }
}
