/**
 * The form in which objects are answered: whole, or only their metadata (k8s.io/apiserver/pkg/endpoints/handlers/response.go and
 * negotiation/negotiate.go). There are no tables here; a client that accepts nothing else gets 406.
 */

import type { KubeList, KubeObject } from './objects.ts'
import { type ApiError, failure } from './status.ts'

export type OutputForm = 'whole' | 'metadata'

const GROUP_VERSION = 'meta.k8s.io/v1'
const JSON_TYPES = ['application/json', 'application/*', '*/*']
const PARTIAL = 'PartialObjectMetadata'

function notAcceptable(message: string): ApiError {
  return failure(406, 'NotAcceptable', message)
}

/**
 * The first form of an `Accept` header that exists.
 *
 * @throws ApiError 406 if there is none, or if a list is requested as one object or the other way round
 */
export function outputForm(accept: string | undefined, isList: boolean): OutputForm {
  for (const clause of (accept || '*/*').split(',')) {
    const [type = '', ...parameters] = clause.split(';').map((part) => part.trim())
    if (!JSON_TYPES.includes(type)) continue
    const { as, g, v } = Object.fromEntries(parameters.map((parameter) => parameter.split('=')))
    if (as === undefined) return 'whole'
    if (g !== 'meta.k8s.io' || v !== 'v1' || (as !== PARTIAL && as !== `${PARTIAL}List`)) continue
    if (isList !== (as === `${PARTIAL}List`))
      throw notAcceptable(
        `you requested ${as}, but the requested object is ${isList ? 'a list' : 'not a list'}`,
      )
    return 'metadata'
  }
  throw notAcceptable(
    'only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf',
  )
}

export function formed(object: KubeObject, form: OutputForm): KubeObject {
  if (form === 'whole') return object
  return { kind: PARTIAL, apiVersion: GROUP_VERSION, metadata: object.metadata }
}

export function formedList(list: KubeList, form: OutputForm): KubeList {
  if (form === 'whole') return list
  const items = list.items.map((item) => formed(item, form))
  return { kind: `${PARTIAL}List`, apiVersion: GROUP_VERSION, metadata: list.metadata, items }
}
