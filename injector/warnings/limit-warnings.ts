/**
 * Warns of LimitRanges and ResourceQuotas of a namespace that will refuse pods because of our containers. These judge the final pod, and
 * their refusals appear only in a ReplicaSet's Events; so the person who applies the workload is warned.
 */
import { GATE_CONTAINER } from '../../common/keys.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { ownResources } from '../patch/addition.ts'
import { readPod } from '../pod/pod.ts'
import { startOf } from '../pod/stages.ts'
import { type OwnResources, parseResources } from '../resources/resources.ts'
import { type AddedPod, addedPod } from './added-pod.ts'
import { brokenLimitRanges } from './limit-range.ts'
import type { NamespaceLimits } from './namespace-limits.ts'
import { fullQuotas } from './quota.ts'

/** With this CPU request our containers request the most that they ever do without an annotation. */
const LARGE_POD_CPU = '64'

/**
 * @param raw the pod, or the one that a template describes
 * @param own resources of the sidecar, and of the gate where there is one, in this pod
 * @param who the subject of the sentence, such as "pods of this workload"
 */
export function podLimitWarnings(
  who: string,
  raw: unknown,
  own: OwnResources,
  { limitRanges, quotas }: NamespaceLimits,
  settings: InjectionSettings,
): string[] {
  const read = readPod(raw)
  if (!read.ok) return []
  const added = addedPod(read.pod, own)
  return [
    ...refusals(who, limitRanges, added, settings),
    ...fullQuotas(quotas, added).map(
      ({ clause, isNever }) => `${who} will be refused${isNever ? '' : ' until there is room'}: ${clause}`,
    ),
  ]
}

/**
 * Warnings for an opted-in namespace: only those that hold for every pod without an annotation. A small pod is tried, and a large one, in
 * which our containers request more.
 *
 * @param redirect how apps are reached in pods of this namespace unless annotated
 */
export function namespaceLimitWarnings(
  { limitRanges }: Pick<NamespaceLimits, 'limitRanges'>,
  settings: InjectionSettings,
  redirect = settings.redirect,
): string[] {
  const added = (cpu: string) => {
    const pod = { spec: { containers: [{ name: 'app', resources: { requests: { cpu } } }] } }
    return addedPod(pod, ownResources(pod, settings.resources, startOf(pod, redirect, settings)))
  }
  return limitRanges.flatMap((limitRange) => {
    const isForAll = refusals('', [limitRange], added(LARGE_POD_CPU), settings).length > 0
    const which = isForAll ? '' : ' and request little CPU'
    return refusals(`pods that get a sidecar${which}`, [limitRange], added('0'), settings)
  })
}

function refusals(
  who: string,
  limitRanges: NamespaceLimits['limitRanges'],
  added: AddedPod,
  { resources, resourcesMax }: InjectionSettings,
): string[] {
  const start = added.containers.some(({ name }) => name === GATE_CONTAINER) ? 'two-stage' : 'one-stage'
  const annotatedWith = (annotation: string) => {
    const read = parseResources(annotation, resources, resourcesMax)
    return read.ok ? ownResources(added.without, read.resources, start) : undefined
  }
  return brokenLimitRanges(limitRanges, added, annotatedWith).map(
    (clause) => `${who} will be refused: ${clause}`,
  )
}
