/** `kubectl auth can-i`, `kubectl auth whoami` and SubjectAccessReview. */

import { isObject, type JsonObject, objectAt, stringAt, type UserInfo } from './objects.ts'
import { type Attributes, authorize, rulesFor } from './rbac.ts'
import { apiVersionOf, type Resource } from './resources.ts'
import type { Store } from './store.ts'

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

/** Answers a review of what `user`, or the subject it names, may do. */
export function reviewAccess(
  store: Store,
  resource: Resource,
  request: JsonObject,
  user: UserInfo,
): JsonObject {
  const spec = objectAt(request, 'spec')
  const base = { apiVersion: apiVersionOf(resource), kind: resource.kind, metadata: {}, spec }
  switch (resource.kind) {
    case 'SelfSubjectReview':
      return { ...base, status: { userInfo: user } }
    case 'SelfSubjectRulesReview': {
      const rules = rulesFor(store, user, stringAt(spec, 'namespace'))
      return {
        ...base,
        status: {
          resourceRules: rules.filter((rule) => rule.resources !== undefined),
          nonResourceRules: rules.filter((rule) => rule.nonResourceURLs !== undefined),
          incomplete: false,
        },
      }
    }
    default: {
      const { groups } = spec
      const subject =
        resource.kind === 'SubjectAccessReview'
          ? {
              username: stringAt(spec, 'user') ?? '',
              groups: Array.isArray(groups) ? groups.map(String) : [],
            }
          : user
      return { ...base, status: { allowed: authorize(store, subject, attributesOf(spec)) } }
    }
  }
}
