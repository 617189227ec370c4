/**
 * Raw JSON from the API server, never read through typed models: those of client-node drop fields that they do not know, which
 * is how webhooks have removed `restartPolicy: Always` (amazon-eks-pod-identity-webhook#208).
 */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject
export type JsonObject = { readonly [key: string]: Json | undefined }

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The object, or an empty one where the value is none. */
export const objectOf = (value: unknown): JsonObject => (isObject(value) ? value : {})

/** The objects of a list; none where the value is no list. */
export const objectsOf = (value: unknown): JsonObject[] =>
  Array.isArray(value) ? value.filter(isObject) : []

/** The metadata of an object of the API; empty if it has none. */
export const metadataOf = (object: unknown): JsonObject => objectOf(objectOf(object).metadata)

/** Its name; empty if it has none. */
export function nameOf(object: unknown): string {
  const { name } = metadataOf(object)
  return typeof name === 'string' ? name : ''
}

/** An object whose members are all texts, such as labels; empty where the value is no object, undefined where another kind of member is in it. */
export function textMembers(value: unknown): Readonly<Record<string, string>> | undefined {
  const members = objectOf(value)
  return Object.values(members).every((one) => typeof one === 'string')
    ? (members as Readonly<Record<string, string>>)
    : undefined
}

/** Whether two JSON values are equal, regardless of the order of members. */
export function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((entry, index) => sameJson(entry, b[index]))
  if (!isObject(a) || !isObject(b)) return false
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]))
  )
}

/** Whether `actual` contains everything in `wanted`; it may contain more (defaults of the API server). */
export function contains(actual: Json | undefined, wanted: Json | undefined): boolean {
  if (Array.isArray(wanted))
    return (
      Array.isArray(actual) &&
      actual.length === wanted.length &&
      wanted.every((entry, index) => contains(actual[index], entry))
    )
  if (!isObject(wanted)) return actual === wanted
  return isObject(actual) && Object.entries(wanted).every(([key, value]) => contains(actual[key], value))
}

/** Whether a value means the same as its absence: clients may write it out, and the API server drops it. */
export function blank(value: Json | undefined): boolean {
  if (Array.isArray(value)) return value.length === 0
  if (isObject(value)) return Object.keys(value).length === 0
  return value === undefined || value === null || value === false || value === ''
}
