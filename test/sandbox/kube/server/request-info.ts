/** What a request is for: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go. */

import { keyOf, type Resource, resourceByPath } from '../objects/resources.ts'
import { fieldSelector } from '../objects/selectors.ts'
import { badRequest } from '../objects/status.ts'

export type RequestInfo = {
  /** Undefined for paths that are no resource (`/healthz`, `/openid/v1/jwks`). */
  readonly resource: Resource | undefined
  /** RBAC verb; the HTTP method in lower case for non-resource paths. */
  readonly verb: string
  readonly namespace: string | undefined
  readonly name: string | undefined
  readonly subresource: string | undefined
  readonly path: string
  readonly query: URLSearchParams
}

const VERBS: Readonly<Record<string, readonly [object: string, collection: string]>> = {
  GET: ['get', 'list'],
  HEAD: ['get', 'list'],
  POST: ['create', 'create'],
  PUT: ['update', 'update'],
  PATCH: ['patch', 'patch'],
  DELETE: ['delete', 'deletecollection'],
}

type Parsed = { group: string; version: string; rest: string[] }

function parseRoot(parts: readonly string[]): Parsed | undefined {
  const [root, second, third, ...rest] = parts
  if (root === 'api' && second !== undefined && third !== undefined)
    return { group: '', version: second, rest: [third, ...rest] }
  if (root === 'apis' && second !== undefined && third !== undefined && rest.length > 0)
    return { group: second, version: third, rest }
  return undefined
}

function parseResource({ group, version, rest }: Parsed) {
  const [first = '', second, third, ...deeper] = rest
  // /namespaces/{ns}/{plural}… is a namespaced resource, /namespaces/{ns} and its subresources are the namespace.
  const own = third === undefined || third === 'status' || third === 'finalize'
  const namespaced = first === 'namespaces' && second !== undefined && !own
  const [plural = '', name, subresource, ...more] = namespaced ? [third, ...deeper] : rest
  const resource = resourceByPath(group, version, plural)
  if (resource === undefined || more.length > 0) return undefined
  if (subresource !== undefined && !Object.hasOwn(resource.subresources, subresource)) return undefined
  if (namespaced && !resource.namespaced) return undefined
  // A namespace counts as being in itself, so that a Role in it can allow reading it.
  const namespace = namespaced ? second : plural === 'namespaces' ? name : undefined
  return { resource, namespace, name, subresource }
}

/**
 * @param method HTTP method
 * @param url path with query
 * @throws ApiError 400 when the path is not percent-encoded properly
 */
export function requestInfo(method: string, url: string): RequestInfo {
  const { pathname, searchParams: query } = new URL(url, 'https://server')
  let parts: string[]
  try {
    parts = pathname.split('/').filter(Boolean).map(decodeURIComponent)
  } catch {
    throw badRequest(`invalid path ${pathname}`)
  }
  const root = parseRoot(parts)
  const found = root === undefined ? undefined : parseResource(root)
  const base = { path: pathname, query }
  if (found === undefined)
    return {
      ...base,
      resource: undefined,
      verb: method.toLowerCase(),
      namespace: undefined,
      name: undefined,
      subresource: undefined,
    }
  const [object, collection] = VERBS[method] ?? [method.toLowerCase(), method.toLowerCase()]
  const watch = ['1', 'true'].includes(query.get('watch') ?? '')
  const reading = method === 'GET' || method === 'HEAD'
  if (!reading || (found.name !== undefined && !(watch && found.subresource === undefined)))
    return { ...base, ...found, verb: found.name === undefined ? collection : object }
  const fields = query.get('fieldSelector')
  const name = found.name ?? (fields === null ? undefined : fieldSelector(fields, keyOf(found.resource)).name)
  return { ...base, ...found, name, verb: watch ? 'watch' : 'list' }
}
