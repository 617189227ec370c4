/** Kubernetes objects as plain JSON, typed only as far as the sandbox looks into them. */

type OwnerReference = {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller?: boolean
  blockOwnerDeletion?: boolean
}

export type ObjectMeta = {
  name?: string
  generateName?: string
  namespace?: string
  uid?: string
  resourceVersion?: string
  generation?: number
  creationTimestamp?: string
  deletionTimestamp?: string
  deletionGracePeriodSeconds?: number
  labels?: Record<string, string>
  annotations?: Record<string, string>
  ownerReferences?: OwnerReference[]
  finalizers?: string[]
  [key: string]: unknown
}

export type KubeObject = {
  apiVersion: string
  kind: string
  metadata: ObjectMeta
  [key: string]: unknown
}

export type KubeList<T extends KubeObject = KubeObject> = {
  apiVersion: string
  kind: string
  metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number }
  items: T[]
}

/** Who makes a request, as in an AdmissionReview's `userInfo`. */
export type UserInfo = {
  username: string
  uid?: string
  groups: string[]
  extra?: Record<string, string[]>
}

export type JsonObject = Record<string, unknown>

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `value` when it is a JSON object, else an empty one: for reading optional branches. */
export function objectAt(value: unknown, ...path: readonly string[]): JsonObject {
  let at: unknown = value
  for (const key of path) at = isObject(at) ? at[key] : undefined
  return isObject(at) ? at : {}
}

/** The objects of an optional array. */
export function listAt(value: unknown, ...path: readonly string[]): JsonObject[] {
  const last = path.at(-1)
  const at = last === undefined ? value : objectAt(value, ...path.slice(0, -1))[last]
  return Array.isArray(at) ? at.filter(isObject) : []
}

export function stringAt(value: unknown, ...path: readonly string[]): string | undefined {
  const last = path.at(-1)
  const at = last === undefined ? value : objectAt(value, ...path.slice(0, -1))[last]
  return typeof at === 'string' ? at : undefined
}

/** Deep equality of JSON values; key order does not matter. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, index) => sameJson(item, b[index]))
  if (!isObject(a) || !isObject(b)) return false
  const keys = Object.keys(a).filter((key) => a[key] !== undefined)
  const others = Object.keys(b).filter((key) => b[key] !== undefined)
  return keys.length === others.length && keys.every((key) => sameJson(a[key], b[key]))
}

/** RFC 3339 in whole seconds, as `metav1.Time`. */
export function timestamp(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`
}
