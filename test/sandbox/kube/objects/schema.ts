/**
 * Decoding into Go types: unknown fields are found and dropped, wrong types are refused, null and empty optional lists
 * and maps are dropped. What a webhook or a client sends is never stored unchanged.
 */
import { readFileSync } from 'node:fs'
import { isObject, type JsonObject, type KubeObject } from './objects.ts'

type Field = { readonly type: string; readonly required: boolean }
type Fields = ReadonlyMap<string, Field>

const kinds = new Map<string, string>()
const types = new Map<string, Fields>()

for (const line of readFileSync(new URL('./schema.txt', import.meta.url), 'utf8').split('\n')) {
  const [what, name = '', ...rest] = line.split(' ')
  if (what === 'kind') kinds.set(name, rest[0] ?? '')
  if (what === 'type')
    types.set(
      name,
      new Map(
        rest.map((text): [string, Field] => {
          const at = text.indexOf('=')
          const key = text.slice(0, at)
          const required = key.endsWith('!')
          return [required ? key.slice(0, -1) : key, { type: text.slice(at + 1), required }]
        }),
      ),
    )
}

/** The fields of a type (`V1PodSpec`): their types, `X[]` for lists and `X{}` for maps; undefined for scalars. */
export function fieldsOf(type: string): Fields | undefined {
  return types.get(type)
}

/** A value whose type is refused by Go's JSON decoder; the message is Go's. */
export class TypeMismatch extends Error {
  override readonly name = 'TypeMismatch'
}

function goType(value: unknown): string {
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'boolean') return 'bool'
  return typeof value === 'object' ? 'object' : typeof value
}

/** The current position: the path with indices for unknown fields, and without indices for Go's errors. */
type Place = { readonly path: string; readonly owner: string; readonly goPath: string }

const below = (place: Place, owner: string, key: string): Place => ({
  owner,
  path: place.path === '' ? key : `${place.path}.${key}`,
  goPath: place.goPath === '' ? key : `${place.goPath}.${key}`,
})

function mismatch(value: unknown, place: Place, wanted: string): TypeMismatch {
  const owner = place.owner.replace(/^(Core|Events|Rbac|Discovery|Admissionregistration)?V1/, '')
  return new TypeMismatch(
    `json: cannot unmarshal ${goType(value)} into Go struct field ${owner}.${place.goPath} of type ${wanted}`,
  )
}

/** Scalars of the schema: the names that `goType` and Go's errors have for them. */
const GO_NAMES: Readonly<Record<string, string>> = { string: 'string', boolean: 'bool', number: 'number' }
const GO_SCALARS: Readonly<Record<string, string>> = { string: 'string', boolean: 'bool', number: 'int64' }

function scalar(value: unknown, type: string, place: Place): unknown {
  switch (type) {
    case 'any':
      return value
    case 'quantity':
      if (typeof value === 'number') return String(value)
      if (typeof value !== 'string') throw mismatch(value, place, 'resource.Quantity')
      return value
    case 'IntOrString':
      if (typeof value !== 'string' && !Number.isInteger(value))
        throw mismatch(value, place, 'intstr.IntOrString')
      return value
    default:
      if (goType(value) !== GO_NAMES[type]) throw mismatch(value, place, GO_SCALARS[type] ?? type)
      return value
  }
}

/** @param unknown collects paths of fields the type does not have */
function convert(value: unknown, type: string, place: Place, unknown: string[]): unknown {
  if (type.endsWith('[]')) {
    if (!Array.isArray(value)) throw mismatch(value, place, `[]${type.slice(0, -2)}`)
    const item = (one: unknown, index: number) =>
      convert(one, type.slice(0, -2), { ...place, path: `${place.path}[${index}]` }, unknown)
    return value.map(item)
  }
  if (type.endsWith('{}')) {
    if (!isObject(value)) throw mismatch(value, place, 'map[string]string')
    const entries = Object.entries(value).map(([key, one]) => [
      key,
      // Go's errors name the map and not the key.
      convert(
        one ?? '',
        type.slice(0, -2),
        { ...below(place, place.owner, key), goPath: place.goPath },
        unknown,
      ),
    ])
    return Object.fromEntries(entries)
  }
  const fields = types.get(type)
  if (fields === undefined) return scalar(value, type, place)
  if (!isObject(value)) throw mismatch(value, place, `v1.${type.replace(/^.*V1/, '')}`)
  return struct(value, type, fields, place, unknown)
}

const isEmpty = (value: unknown, type: string): boolean =>
  (type.endsWith('[]') && Array.isArray(value) && value.length === 0) ||
  (type.endsWith('{}') && isObject(value) && Object.keys(value).length === 0)

function struct(
  value: JsonObject,
  type: string,
  fields: Fields,
  place: Place,
  unknown: string[],
): JsonObject {
  const result: JsonObject = {}
  for (const [key, one] of Object.entries(value)) {
    const field = fields.get(key)
    const at = below(place, type, key)
    if (field === undefined) {
      unknown.push(at.path)
      continue
    }
    if (one === null || one === undefined) continue
    const converted = convert(one, field.type, at, unknown)
    // Go's `omitempty`; required lists (`containers`, `rules`) are written even when empty.
    if (field.required || !isEmpty(converted, field.type)) result[key] = converted
  }
  return result
}

export type Decoded = { readonly object: KubeObject; readonly unknown: readonly string[] }

/**
 * Decodes an object of a kind with a schema; others pass as they are.
 *
 * @throws TypeMismatch
 */
export function decodeTyped(object: KubeObject): Decoded {
  const type = kinds.get(`${object.apiVersion}/${object.kind}`)
  const fields = type === undefined ? undefined : types.get(type)
  if (type === undefined || fields === undefined) return { object, unknown: [] }
  const unknown: string[] = []
  const decoded = struct(object, type, fields, { path: '', owner: type, goPath: '' }, unknown)
  return {
    object: { ...(decoded as KubeObject), metadata: (decoded.metadata ?? {}) as KubeObject['metadata'] },
    unknown,
  }
}
