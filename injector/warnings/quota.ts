/** Finds ResourceQuotas that a pod would exceed only because of our containers (pkg/quota/v1/evaluator/core/pods.go). */
import { KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { isObject, type JsonObject, nameOf, objectOf } from '../json.ts'
import type { Pod } from '../pod/pod.ts'
import { type Kind, podTotal } from '../pod/resource-totals.ts'
import { amountOf, quantityText, type ResourceName } from '../resources/quantity.ts'
import type { AddedPod } from './added-pod.ts'

const COUNTED: Readonly<Record<string, readonly [Kind, ResourceName]>> = {
  cpu: ['requests', 'cpu'],
  'requests.cpu': ['requests', 'cpu'],
  'limits.cpu': ['limits', 'cpu'],
  memory: ['requests', 'memory'],
  'requests.memory': ['requests', 'memory'],
  'limits.memory': ['limits', 'memory'],
}

/**
 * Reports only quotas with room for the pod without our containers: people know the others without us.
 *
 * @returns clauses, with the remedy; `isNever`: not even an empty namespace would have room
 */
export function fullQuotas(quotas: readonly JsonObject[], { without, withOurs }: AddedPod) {
  return quotas.flatMap((quota) => {
    if (!counts(quota, withOurs)) return []
    const { hard, used } = usage(quota)
    for (const [key, [kind, name]] of Object.entries(COUNTED)) {
      const most = amountOf(name, hard[key])
      if (most === undefined) continue
      const left = Math.max(0, most - (amountOf(name, used[key]) ?? 0))
      const needs = podTotal(withOurs, kind, name) ?? 0
      const own = podTotal(without, kind, name) ?? 0
      if (needs <= left || own > left) continue
      const text = (amount: number) => quantityText(name, amount)
      const isNever = needs > most
      const room = isNever
        ? `allows ${text(most)} of ${key} in all`
        : `has ${text(left)} of its ${text(most)} of ${key} left`
      const clause =
        `ResourceQuota ${nameOf(quota)} ${room}, and a pod needs ${text(needs)} with ${SIDECAR_CONTAINER}, ${text(own)} without: ` +
        `raise it, or ask for less with ${KEYS.sidecarResources}`
      return [{ clause, isNever }]
    }
    return []
  })
}

function usage({ spec, status }: JsonObject): { readonly hard: JsonObject; readonly used: JsonObject } {
  return { hard: objectOf(objectOf(spec).hard), used: objectOf(objectOf(status).used) }
}

/**
 * Whether a quota certainly counts this pod, judged by those scopes that the pod shows. A pod with requests is never BestEffort;
 * priority classes are ignored, since admission may set them later.
 */
function counts({ spec }: JsonObject, pod: Pod): boolean {
  if (!isObject(spec)) return false
  if (spec.scopeSelector !== undefined && spec.scopeSelector !== null) return false
  const scopes = Array.isArray(spec.scopes) ? spec.scopes : []
  const isTerminating = typeof pod.spec.activeDeadlineSeconds === 'number'
  return scopes.every(
    (scope) =>
      scope === 'NotBestEffort' ||
      (scope === 'Terminating' && isTerminating) ||
      (scope === 'NotTerminating' && !isTerminating),
  )
}
