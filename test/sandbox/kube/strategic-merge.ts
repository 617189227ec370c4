/**
 * Strategic merge patch, as far as `kubectl apply`, `label`, `annotate`, `set image` and client-go's event recorder
 * need it: lists with a known merge key are merged by it, `$patch: delete|replace`, `$deleteFromPrimitiveList/…`
 * and `$retainKeys` are honoured. Merge keys: k8s.io/api struct tags `patchMergeKey`.
 */
import { isObject, type JsonObject, sameJson } from './objects.ts'

/** Merge keys by the name of the list field; where a name occurs in several types they agree or are listed by parent. */
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

/** `ports` merges by containerPort in a container and by port in a Service. */
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
  if (items.some((item) => item.$patch === 'replace'))
    return items.filter((item) => item.$patch !== 'replace')
  let result = [...current]
  for (const item of items) {
    const at = result.findIndex((other) => isObject(other) && sameJson(other[key], item[key]))
    if (item.$patch === 'delete') result = result.filter((_, index) => index !== at)
    else if (at === -1) result.push(merge({}, item))
    else result[at] = merge(result[at], item)
  }
  return result
}

/** `$setElementOrder/<list>`: the listed elements take this order, the others keep their place after them. */
function reorder(field: string, list: readonly unknown[], order: readonly unknown[]): unknown[] {
  const key = mergeKey(field, list)
  const id = (item: unknown) => (isObject(item) && key !== undefined ? item[key] : item)
  const rank = (item: unknown) => {
    const index = order.findIndex((other) => sameJson(id(other), id(item)))
    return index === -1 ? order.length : index
  }
  return list
    .map((item, index) => ({ item, index, rank: rank(item) }))
    .sort((a, b) => a.rank - b.rank || a.index - b.index)
    .map(({ item }) => item)
}

function directive(result: JsonObject, key: string, value: unknown): boolean {
  const [name, field] = key.split('/', 2)
  if (field === undefined) return key === '$patch' || key === '$retainKeys'
  const list = Array.isArray(result[field]) ? result[field] : []
  const values = Array.isArray(value) ? value : []
  if (name === '$deleteFromPrimitiveList')
    result[field] = list.filter((item) => !values.some((other) => sameJson(item, other)))
  else if (name === '$setElementOrder') {
    if (list.length > 0) result[field] = reorder(field, list, values)
  } else return false
  return true
}

function merge(document: unknown, patch: JsonObject): JsonObject {
  if (patch.$patch === 'replace') {
    const { $patch: _, ...rest } = patch
    return structuredClone(rest)
  }
  let result: JsonObject = isObject(document) ? { ...document } : {}
  if (Array.isArray(patch.$retainKeys)) {
    const retained = patch.$retainKeys
    result = Object.fromEntries(Object.entries(result).filter(([key]) => retained.includes(key)))
  }
  const ordinary = Object.entries(patch).filter(([key]) => !key.startsWith('$'))
  for (const [key, value] of ordinary) {
    const current = result[key]
    if (value === null || (isObject(value) && value.$patch === 'delete')) delete result[key]
    else if (Array.isArray(value)) result[key] = mergeList(key, Array.isArray(current) ? current : [], value)
    else if (isObject(value)) result[key] = merge(current, value)
    else result[key] = value
  }
  for (const [key, value] of Object.entries(patch))
    if (key.startsWith('$') && !directive(result, key, value)) throw new TypeError(`unknown directive ${key}`)
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
