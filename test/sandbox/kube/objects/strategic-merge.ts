/**
 * Strategic merge patch, as far as `kubectl patch`, `label`, `annotate`, `rollout restart` and client-go's event recorder need it:
 * lists with a known merge key are merged by it; directives, which `kubectl apply` and `set` write, are refused. Merge
 * keys: k8s.io/api struct tags `patchMergeKey`.
 */
import { isObject, type JsonObject, sameJson } from './objects.ts'

/** Merge keys by the name of the list field; if a name occurs in several types, they agree or are listed by parent. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  ephemeralContainers: 'name',
  volumes: 'name',
  env: 'name',
  volumeMounts: 'mountPath',
  volumeDevices: 'devicePath',
  imagePullSecrets: 'name',
  secrets: 'name',
  hostAliases: 'ip',
  topologySpreadConstraints: 'topologyKey',
  conditions: 'type',
  ownerReferences: 'uid',
  taints: 'key',
  addresses: 'type',
  podIPs: 'ip',
  hostIPs: 'ip',
  webhooks: 'name',
  matchConditions: 'name',
  resourceClaims: 'name',
}
/** Lists of scalars that are merged as sets (`patchStrategy: merge` without a key). */
const MERGED_SETS = new Set(['finalizers', 'podCIDRs'])

/** `ports` is merged by containerPort in a container and by port in a Service. */
function mergeKey(field: string, items: readonly unknown[]): string | undefined {
  if (field === 'ports')
    return items.some((item) => isObject(item) && 'containerPort' in item) ? 'containerPort' : 'port'
  return MERGE_KEYS[field]
}

function mergeList(field: string, current: readonly unknown[], patch: readonly unknown[]): unknown[] {
  if (MERGED_SETS.has(field)) return [...new Set([...current, ...patch])]
  const key = mergeKey(field, [...patch, ...current])
  if (key === undefined || patch.some((item) => !isObject(item))) return structuredClone([...patch])
  const items = patch as readonly JsonObject[]
  const result = [...current]
  for (const item of items) {
    const at = result.findIndex((other) => isObject(other) && sameJson(other[key], item[key]))
    if (at === -1) result.push(merge({}, item))
    else result[at] = merge(result[at], item)
  }
  return result
}

function merge(document: unknown, patch: JsonObject): JsonObject {
  const result: JsonObject = isObject(document) ? { ...document } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith('$')) throw new TypeError(`unknown directive ${key}`)
    const current = result[key]
    if (value === null) delete result[key]
    else if (Array.isArray(value)) result[key] = mergeList(key, Array.isArray(current) ? current : [], value)
    else if (isObject(value)) result[key] = merge(current, value)
    else result[key] = value
  }
  return result
}

/**
 * Applies a strategic merge patch.
 *
 * @throws TypeError when the patch is no object or uses an unknown directive
 */
export function strategicMergePatch(document: unknown, patch: unknown): unknown {
  if (!isObject(patch)) throw new TypeError('a strategic merge patch is an object')
  return merge(document, patch)
}
