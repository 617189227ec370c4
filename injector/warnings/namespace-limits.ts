/** Reads the LimitRanges and ResourceQuotas of a namespace, for warnings only. */

import { BoundedMap } from '../../common/bounded-map.ts'
import type { Kube } from '../../common/kube/client.ts'
import type { Logger } from '../../common/log.ts'
import { type JsonObject, objectOf, objectsOf } from '../json.ts'
import { kubeProblem } from '../kubernetes/access.ts'
import { isNamespaceName } from '../kubernetes/names.ts'

export type NamespaceLimits = {
  readonly limitRanges: readonly JsonObject[]
  readonly quotas: readonly JsonObject[]
}

/** Reads the limits of a namespace. Never rejects: a list that cannot be read is empty, and causes no warning. */
export type LimitsLookup = (namespace: string) => Promise<NamespaceLimits>

export const NO_LIMITS: NamespaceLimits = { limitRanges: [], quotas: [] }

/** Real namespaces have one or two of each. */
const MAX_OBJECTS = 50
/** Long enough that workloads applied together, as those of a chart, cause a single read. */
const KEPT_MS = 5000
const MAX_NAMESPACES = 256

/**
 * @param kube a client whose requests end within a second
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
      return objectsOf(objectOf(answer).items).slice(0, MAX_OBJECTS)
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
    // It becomes part of a path, and anybody who reaches the port can send it.
    if (!isNamespaceName(namespace)) return NO_LIMITS
    const now = clock()
    const last = known.get(namespace)
    if (last !== undefined && now - last.at < KEPT_MS) return last.limits
    const limits = read(namespace)
    known.set(namespace, { at: now, limits })
    return limits
  }
}
