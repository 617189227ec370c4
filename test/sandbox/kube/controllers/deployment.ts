/** Deployment: one ReplicaSet per template; the new one is scaled up, the old ones are scaled down as its pods become ready. */

import { type JsonObject, type KubeObject, listAt, objectAt, timestamp } from '../objects/objects.ts'
import { resourceNamed } from '../objects/resources.ts'
import {
  type Actor,
  controllerReference,
  isTerminating,
  ownedBy,
  templateHash,
} from './controller-context.ts'

const DEPLOYMENTS = resourceNamed('deployments')
const REPLICA_SETS = resourceNamed('replicasets')
const HASH = 'pod-template-hash'
const REVISION = 'deployment.kubernetes.io/revision'

type Labels = Record<string, string>
const replicasOf = (object: KubeObject, part: 'spec' | 'status', field = 'replicas') =>
  Number(objectAt(object, part)[field] ?? 0)

function replicaSetFor(deployment: KubeObject, hash: string, replicas: number, revision: number): KubeObject {
  const spec = objectAt(deployment, 'spec')
  const template = objectAt(spec, 'template')
  const metadata = objectAt(template, 'metadata')
  const labels = { ...(objectAt(metadata, 'labels') as Labels), [HASH]: hash }
  const matchLabels = { ...objectAt(spec, 'selector', 'matchLabels'), [HASH]: hash }
  const { name = '', namespace = 'default' } = deployment.metadata
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: `${name}-${hash}`,
      namespace,
      labels,
      annotations: { [REVISION]: String(revision) },
      ownerReferences: [controllerReference(deployment)],
    },
    spec: {
      replicas,
      selector: { ...objectAt(spec, 'selector'), matchLabels },
      template: { ...template, metadata: { ...metadata, labels } },
    },
  }
}

async function scale(actor: Actor, replicaSet: KubeObject, replicas: number): Promise<void> {
  if (replicasOf(replicaSet, 'spec') === replicas) return
  await actor.patch(REPLICA_SETS, replicaSet, (current) => ({
    ...current,
    spec: { ...objectAt(current, 'spec'), replicas },
  }))
}

/** How many pods more and fewer than wanted a rolling update may have: a number, or a share of the replicas, by default a quarter. */
function bounds(deployment: KubeObject, wanted: number): { surge: number; unavailable: number } {
  const { maxSurge, maxUnavailable } = objectAt(deployment, 'spec', 'strategy', 'rollingUpdate')
  const resolved = (value: unknown = '25%', round: (part: number) => number) => {
    const [, percent] = /^(\d+)%$/.exec(String(value)) ?? []
    return percent === undefined ? Number(value) : round((wanted * Number(percent)) / 100)
  }
  const surge = resolved(maxSurge, Math.ceil)
  const unavailable = resolved(maxUnavailable, Math.floor)
  return { surge, unavailable: surge === 0 && unavailable === 0 ? 1 : unavailable }
}

function conditions(deployment: KubeObject, current: KubeObject, wanted: number, now: number): JsonObject[] {
  const available = replicasOf(current, 'status', 'availableReplicas') >= wanted
  const at = timestamp(now)
  const before = listAt(deployment, 'status', 'conditions')
  const keep = (condition: JsonObject): JsonObject => {
    const old = before.find((one) => one.type === condition.type)
    const same = old?.status === condition.status && old?.message === condition.message
    return old !== undefined && same ? old : { ...condition, lastTransitionTime: at, lastUpdateTime: at }
  }
  return [
    ...listAt(current, 'status', 'conditions').filter((c) => c.type === 'ReplicaFailure'),
    available
      ? {
          type: 'Available',
          status: 'True',
          reason: 'MinimumReplicasAvailable',
          message: 'Deployment has minimum availability.',
        }
      : {
          type: 'Available',
          status: 'False',
          reason: 'MinimumReplicasUnavailable',
          message: 'Deployment does not have minimum availability.',
        },
  ].map(keep)
}

export async function reconcileDeployment(actor: Actor, deployment: KubeObject): Promise<void> {
  if (isTerminating(deployment)) return
  const { store } = actor
  const wanted = replicasOf(deployment, 'spec')
  const hash = templateHash(objectAt(deployment, 'spec', 'template'))
  const own = () =>
    store.list(REPLICA_SETS, deployment.metadata.namespace).filter((rs) => ownedBy(rs, deployment))
  const isCurrent = (replicaSet: KubeObject) => replicaSet.metadata.labels?.[HASH] === hash
  const old = own().filter((rs) => !isCurrent(rs))
  const recreate = objectAt(deployment, 'spec', 'strategy').type === 'Recreate'
  const oldLeft = old.some((rs) => replicasOf(rs, 'status') > 0)
  if (recreate) for (const replicaSet of old) await scale(actor, replicaSet, 0)
  let current = own().find(isCurrent)
  if (current === undefined) {
    if (recreate && oldLeft) return
    const revision = Math.max(0, ...old.map((rs) => Number(rs.metadata.annotations?.[REVISION] ?? 0))) + 1
    current = await actor.create(REPLICA_SETS, replicaSetFor(deployment, hash, 0, revision))
  }
  const { surge, unavailable } = recreate ? { surge: wanted, unavailable: 0 } : bounds(deployment, wanted)
  const oldOnes = old.reduce((total, rs) => total + replicasOf(rs, 'spec'), 0)
  const room = Math.max(replicasOf(current, 'spec'), wanted + surge - oldOnes)
  await scale(actor, current, Math.min(wanted, room))
  let ready = replicasOf(current, 'status', 'readyReplicas')
  for (const replicaSet of recreate ? [] : old) {
    const keep = Math.min(replicasOf(replicaSet, 'spec'), Math.max(0, wanted - unavailable - ready))
    await scale(actor, replicaSet, keep)
    ready += keep
  }
  const sum = (field: string) => own().reduce((total, rs) => total + replicasOf(rs, 'status', field), 0)
  const available = sum('availableReplicas')
  await actor.setStatus(DEPLOYMENTS, deployment, {
    replicas: sum('replicas'),
    updatedReplicas: replicasOf(current, 'status'),
    readyReplicas: sum('readyReplicas'),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, wanted - available),
    observedGeneration: deployment.metadata.generation,
    conditions: conditions(deployment, current, wanted, actor.now()),
  })
}
