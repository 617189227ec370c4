/** What bounds the pods of a namespace: its LimitRanges and ResourceQuotas, for warnings alone. */

import { BoundedMap } from '../../common/bounded-map.ts'
import type { Kube } from '../../common/kube/client.ts'
import type { Logger } from '../../common/log.ts'
import { isObject, type JsonObject } from '../json.ts'
import { kubeProblem } from '../kubernetes/access.ts'
import { isNamespaceName } from '../kubernetes/namespace-lookup.ts'

export type NamespaceLimits = {
  readonly limitRanges: readonly JsonObject[]
  readonly quotas: readonly JsonObject[]
}

/** Reads them; never rejects: what cannot be read warns of nothing. */
export type LimitsLookup = (namespace: string) => Promise<NamespaceLimits>

export const NO_LIMITS: NamespaceLimits = { limitRanges: [], quotas: [] }

/** Real namespaces have one or two of each. */
const MAX_OBJECTS = 50
/** What is applied together, a chart's ten workloads, asks once. */
const KEPT_MS = 5000
const MAX_NAMESPACES = 256

/**
 * @param kube whose requests end within a second
 * @param clock milliseconds, monotonic
 */
export function namespaceLimits(
  kube: Pick<Kube, 'get'>,
  clock: () => number,
  log: Pick<Logger, 'debug'>,
): LimitsLookup {
  const known = new BoundedMap<string, { readonly at: number; readonly limits: Promise<NamespaceLimits> }>(
    MAX_NAMESPACES,
  )
  const list = async (namespace: string, plural: string): Promise<readonly JsonObject[]> => {
    try {
      const path = `/api/v1/namespaces/${namespace}/${plural}`
      const answer = await kube.get(path, { limit: String(MAX_OBJECTS) })
      const items = isObject(answer) && Array.isArray(answer.items) ? answer.items : []
      return items.filter(isObject).slice(0, MAX_OBJECTS)
    } catch (error) {
      log.debug('no warning of limits can be given', {
        namespace,
        resource: plural,
        error: kubeProblem(error),
      })
      return []
    }
  }
  const read = async (namespace: string): Promise<NamespaceLimits> => {
    const [limitRanges, quotas] = await Promise.all([
      list(namespace, 'limitranges'),
      list(namespace, 'resourcequotas'),
    ])
    return { limitRanges, quotas }
  }
  return async function lookUpLimits(namespace) {
    // It becomes part of a path, and whoever reaches the port can write it.
    if (!isNamespaceName(namespace)) return NO_LIMITS
    const now = clock()
    const last = known.get(namespace)
    if (last !== undefined && now - last.at < KEPT_MS) return last.limits
    const limits = read(namespace)
    known.set(namespace, { at: now, limits })
    return limits
  }
}
