/** Workloads, by the names that kubectl accepts. */
import type { V1Pod } from '@kubernetes/client-node'
import { CliError } from '../failure.ts'
import { isObject, type JsonObject } from '../product/injector.ts'
import type { Answer, ApiRequest } from './api-request.ts'
import type { Cluster } from './cluster.ts'
import { plainObject } from './plain-object.ts'

export const WORKLOADS = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job', 'CronJob'] as const
export type WorkloadKind = (typeof WORKLOADS)[number]

const NAMES: Readonly<Record<string, WorkloadKind | 'Pod'>> = {
  ...{ pod: 'Pod', pods: 'Pod', po: 'Pod' },
  ...{ deployment: 'Deployment', deployments: 'Deployment', deploy: 'Deployment' },
  ...{ statefulset: 'StatefulSet', statefulsets: 'StatefulSet', sts: 'StatefulSet' },
  ...{ daemonset: 'DaemonSet', daemonsets: 'DaemonSet', ds: 'DaemonSet' },
  ...{ replicaset: 'ReplicaSet', replicasets: 'ReplicaSet', rs: 'ReplicaSet' },
  ...{ job: 'Job', jobs: 'Job' },
  ...{ cronjob: 'CronJob', cronjobs: 'CronJob', cj: 'CronJob' },
}

export type Target = { readonly kind: WorkloadKind | 'Pod' | undefined; readonly name: string }

/** Parses `NAME`, of a pod or a workload, or `KIND/NAME`. */
export function parseTarget(text: string): Target {
  const [first = '', second, ...more] = text.split('/')
  if (second === undefined) return { kind: undefined, name: first }
  const kind = NAMES[first.toLowerCase().replace(/[.].*/, '')]
  if (kind === undefined || second === '' || more.length > 0)
    throw new CliError(
      'target-unknown',
      `${JSON.stringify(text)} is neither a pod nor a workload`,
      'give the name of a pod, or KIND/NAME with pod, deployment, statefulset, daemonset, replicaset, job or cronjob',
    )
  return { kind, name: second }
}

/** The workload as the API server sends it, with its kind, which objects of the typed client lack. */
export async function readWorkload(
  { ask, apps, batch }: Cluster,
  kind: WorkloadKind,
  namespace: string,
  name: string,
): Promise<Answer<JsonObject>> {
  const from = { name, namespace }
  const group = kind === 'Job' || kind === 'CronJob' ? 'batch' : 'apps'
  const asked: ApiRequest = { verb: 'get', resource: `${kind.toLowerCase()}s.${group}`, namespace }
  const answer = await ask<object>(asked, (options) => {
    switch (kind) {
      case 'Deployment':
        return apps.readNamespacedDeployment(from, options)
      case 'StatefulSet':
        return apps.readNamespacedStatefulSet(from, options)
      case 'DaemonSet':
        return apps.readNamespacedDaemonSet(from, options)
      case 'ReplicaSet':
        return apps.readNamespacedReplicaSet(from, options)
      case 'Job':
        return batch.readNamespacedJob(from, options)
      case 'CronJob':
        return batch.readNamespacedCronJob(from, options)
    }
  })
  return answer.kind === 'found' ? { kind: 'found', value: { ...plainObject(answer.value), kind } } : answer
}

/** The pods that it selects, including those of an earlier template. */
export async function podsOf(
  { askAll, core }: Cluster,
  workload: JsonObject,
  namespace: string,
): Promise<readonly V1Pod[]> {
  const labelSelector = selectorOf(workload)
  if (labelSelector === undefined) return []
  const pods = await askAll({ verb: 'list', resource: 'pods', namespace }, (query, options) =>
    core.listNamespacedPod({ namespace, labelSelector, ...query }, options),
  )
  return pods.kind === 'found' ? pods.value : []
}

function selectorOf({ spec }: JsonObject): string | undefined {
  const selector = isObject(spec) && isObject(spec.selector) ? spec.selector : {}
  const labels = isObject(selector.matchLabels) ? Object.entries(selector.matchLabels) : []
  return labels.length === 0 ? undefined : labels.map(([key, value]) => `${key}=${value}`).join(',')
}
