/** Arbitrary objects of the Kubernetes API, from the types in the generated client of client-node. */
import fc from 'fast-check'
import { fieldsOf } from '../sandbox/kube/objects/schema.ts'
import type { Dict } from './fixtures.ts'

/** The most optional fields of an object: with all those of V1PodSpec, an object would have megabytes. */
const MOST_OPTIONAL = 6

/**
 * Objects of a struct type; what is nested deeper than `depth` is omitted where it is optional, and otherwise empty.
 *
 * @param type e.g. `V1PodSpec`
 */
export function arbitraryOf(type: string, depth: number): fc.Arbitrary<Dict> {
  const fields = [...(fieldsOf(type) ?? [])]
  const required = fields.filter(([, field]) => field.required).map(([name]) => name)
  const optional = fields.filter(
    ([, field]) => !field.required && (depth > 0 || fieldsOf(field.type) === undefined),
  )
  return fc
    .subarray(
      optional.map(([name]) => name),
      { maxLength: Math.min(MOST_OPTIONAL, optional.length) },
    )
    .chain((chosen) => {
      const present = fields.filter(([name]) => required.includes(name) || chosen.includes(name))
      return fc.record(
        Object.fromEntries(present.map(([name, { type: of }]) => [name, anyOfType(of, depth - 1)])),
      )
    })
}

function anyOfType(type: string, depth: number): fc.Arbitrary<unknown> {
  if (type.endsWith('[]')) {
    if (depth <= 0) return fc.constant([])
    return fc.array(anyOfType(type.slice(0, -2), depth), { maxLength: 2 })
  }
  if (type.endsWith('{}'))
    return fc.dictionary(fc.string(), anyOfType(type.slice(0, -2), depth), { maxKeys: 2 })
  switch (type) {
    case 'string':
      return fc.string({ maxLength: 12 })
    case 'boolean':
      // Booleans are mostly false, since `hostNetwork: true` alone decides about a pod.
      return fc.integer({ min: 0, max: 9 }).map((number) => number === 0)
    case 'number':
      return fc.integer()
    case 'quantity':
      return fc.constantFrom('1', '100m', '64Mi', '1Gi', 2)
    case 'IntOrString':
      return fc.oneof(fc.integer(), fc.string())
    case 'any':
      return fc.jsonValue()
    default:
      return arbitraryOf(type, Math.max(depth, 0))
  }
}
