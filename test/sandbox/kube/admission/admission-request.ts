/** Who makes a request, for which resource, and the resulting request of the admission chain. */

import {
  isObject,
  type JsonObject,
  type KubeObject,
  objectAt,
  stringAt,
  type UserInfo,
} from '../objects/objects.ts'
import { apiVersionOf, type Resource } from '../objects/resources.ts'
import { decodeTyped, TypeMismatch } from '../objects/schema.ts'
import { badRequest } from '../objects/status.ts'
import { isKubeObject } from '../objects/strategy.ts'
import type { AdmissionRequest } from './admission.ts'

export type Caller = {
  readonly user: UserInfo
  readonly dryRun: boolean
  /** What happens to fields that the kind does not have: they are refused, warned about (the server's default), or dropped. */
  readonly fieldValidation: 'Strict' | 'Warn' | 'Ignore'
  warn(text: string): void
  audit(key: string, value: string): void
}

/** Where an operation happens. */
export type Target = {
  readonly resource: Resource
  readonly subresource?: string | undefined
  readonly namespace: string | undefined
}

export function options(kind: string, caller: Caller, extra: JsonObject = {}): JsonObject {
  return { kind, apiVersion: 'meta.k8s.io/v1', ...(caller.dryRun ? { dryRun: ['All'] } : {}), ...extra }
}

/** Decodes into the kind's type; reports what does not fit as the real decoder does. */
function typed(resource: Resource, object: KubeObject, caller: Caller): KubeObject {
  const refuse = (why: string) =>
    badRequest(
      `${resource.kind} in version "${resource.version}" cannot be handled as a ${resource.kind}: ${why}`,
    )
  try {
    const decoded = decodeTyped(object)
    const problems = decoded.unknown.map((path) => `unknown field "${path}"`)
    if (caller.fieldValidation === 'Strict' && problems.length > 0)
      throw refuse(`strict decoding error: ${problems.join(', ')}`)
    if (caller.fieldValidation === 'Warn') for (const problem of problems) caller.warn(problem)
    return decoded.object
  } catch (error) {
    throw error instanceof TypeMismatch ? refuse(error.message) : error
  }
}

/** An object of the resource's kind in the request's namespace. */
export function decode(target: Target, body: unknown, caller: Caller): KubeObject {
  const { resource, namespace } = target
  if (!isObject(body)) throw badRequest('the object provided is unrecognized: it is no JSON object')
  const apiVersion = stringAt(body, 'apiVersion') ?? apiVersionOf(resource)
  const kind = stringAt(body, 'kind') ?? resource.kind
  if (apiVersion !== apiVersionOf(resource))
    throw badRequest(
      `the API version in the data (${apiVersion}) does not match the expected API version (${apiVersionOf(resource)})`,
    )
  if (kind !== resource.kind)
    throw badRequest(
      `${kind} in version "${resource.version}" cannot be handled as a ${resource.kind}: no kind "${kind}" is registered for version "${apiVersion}" here`,
    )
  const object = {
    ...structuredClone(body),
    apiVersion,
    kind,
    metadata: structuredClone(objectAt(body, 'metadata')),
  }
  if (!isKubeObject(object)) throw badRequest('metadata is no object')
  const own = stringAt(object.metadata, 'namespace') ?? ''
  if (resource.namespaced && own !== '' && own !== namespace)
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request')
  return typed(resource, object, caller)
}

/** The request of the admission chain. */
export function admissionRequest(
  operation: AdmissionRequest['operation'],
  target: Target,
  name: string,
  objects: Pick<AdmissionRequest, 'object' | 'oldObject'>,
  opts: JsonObject,
  caller: Caller,
): AdmissionRequest {
  const { resource, subresource, namespace } = target
  const own = subresource === undefined ? undefined : resource.subresources[subresource]
  const { group, version } = resource
  const kind =
    own === undefined || own === resource.kind ? { group, version, kind: resource.kind } : kindOf(own)
  const { user, dryRun } = caller
  return {
    operation,
    resource,
    subresource,
    kind,
    namespace: resource.plural === 'namespaces' ? name : namespace,
    name,
    ...objects,
    options: opts,
    dryRun,
    user,
    warn: (text) => caller.warn(text),
    audit: (key, value) => caller.audit(key, value),
  }
}

function kindOf(kind: string) {
  const groups: Readonly<Record<string, [string, string]>> = {
    Eviction: ['policy', 'v1'],
    TokenRequest: ['authentication.k8s.io', 'v1'],
  }
  const [group, version] = groups[kind] ?? ['', 'v1']
  return { group, version, kind }
}
