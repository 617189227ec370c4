/**
 * The raw JSON of an admission review, read as it came. Never through typed models: client-node's drop fields
 * they do not know, which is how webhooks strip `restartPolicy: Always` (amazon-eks-pod-identity-webhook#208).
 */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject
export type JsonObject = { readonly [key: string]: Json | undefined }

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether two JSON values are the same, whatever the order of their members. */
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

/** Whether everything `wanted` says stands in `actual`, which may say more (defaults of the API server). */
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

/** What says nothing: clients write such values out, the API server drops them. */
export function blank(value: Json | undefined): boolean {
  if (Array.isArray(value)) return value.length === 0
  if (isObject(value)) return Object.keys(value).length === 0
  return value === undefined || value === null || value === false || value === ''
}
