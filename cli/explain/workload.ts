/** A workload: its stuck pod or, if admission refuses its pods, its template and the error that the controller got. */
import type { V1Pod } from '@kubernetes/client-node'
import { foundIn } from '../cluster/api-request.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { Installation } from '../cluster/installation.ts'
import { podsOf } from '../cluster/workloads.ts'
import type { JsonObject } from '../product/injector.ts'
import type { Explanation } from './explanation.ts'
import { explainObject, podOf } from './file.ts'
import { accountAnswer, defaultSettings, explainLive, NO_INJECTOR, readNamespace } from './live.ts'
import { type Finding, failed, firstFailed, ok, type Step } from './step.ts'

export async function explainWorkload(
  cluster: Cluster,
  installation: Installation,
  workload: JsonObject,
  namespace: string,
): Promise<Explanation> {
  const pods = await podsOf(cluster, workload, namespace)
  const pod = pods.toSorted(stuckFirst)[0]
  if (pod !== undefined) return explainLive(cluster, installation, pod)
  const template = podOf(workload) ?? {}
  const settings = installation.injection ?? defaultSettings()
  const account = foundIn(await accountAnswer(cluster, installation, namespace, template))
  const explanation = await explainObject(
    workload,
    template,
    namespace,
    await readNamespace(cluster, namespace),
    {
      settings,
      account,
      untouched: installation.untouched,
      notes: installation.injection === undefined ? [NO_INJECTOR] : [],
    },
    'which has no pods',
  )
  if (firstFailed(explanation.steps) !== undefined) return explanation
  const refusal: Step = {
    ...{ id: 'created', title: 'its pods are created' },
    ...(await created(cluster, namespace, explanation.name)),
  }
  return { ...explanation, steps: [...explanation.steps, refusal] }
}

async function created(cluster: Cluster, namespace: string, name: string): Promise<Finding> {
  const events = await cluster.askAll({ verb: 'list', resource: 'events', namespace }, (query, options) =>
    cluster.core.listNamespacedEvent({ namespace, fieldSelector: 'reason=FailedCreate', ...query }, options),
  )
  if (events.kind !== 'found')
    return { state: 'not-checked', detail: 'you may not list Events, which say why its pods are not created' }
  const refused = events.value
    .filter(
      ({ involvedObject }) => involvedObject.name === name || involvedObject.name?.startsWith(`${name}-`),
    )
    .at(-1)
  return refused?.message === undefined
    ? ok('nothing refuses its pods; it may be scaled to zero')
    : failed(
        'pods-refused',
        refused.message,
        'the message names what refuses them; if it is pod2iam, the message includes the remedy',
      )
}

/** Pods that are not ready come first, and newer ones before older ones. */
function stuckFirst(one: V1Pod, other: V1Pod): number {
  const rank = ({ status, metadata }: V1Pod) => {
    const isReady = status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')
    return (isReady ? 1 : 0) + (metadata?.deletionTimestamp === undefined ? 0 : 2)
  }
  const createdAt = ({ metadata }: V1Pod) => metadata?.creationTimestamp?.getTime() ?? 0
  return rank(one) - rank(other) || createdAt(other) - createdAt(one)
}
