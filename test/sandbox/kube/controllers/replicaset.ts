/** ReplicaSet: as many pods as wanted. */

import { type JsonObject, type KubeObject, objectAt, timestamp } from '../objects/objects.ts'
import { resourceNamed } from '../objects/resources.ts'
import { isApiError } from '../objects/status.ts'
import { type Actor, isReady, isTerminating, phaseOf, podsOf } from './controller-context.ts'

const REPLICA_SETS = resourceNamed('replicasets')
const PODS = resourceNamed('pods')

const isActive = (pod: KubeObject) => !isTerminating(pod) && !['Succeeded', 'Failed'].includes(phaseOf(pod))

function podFor(replicaSet: KubeObject) {
  const template = objectAt(replicaSet, 'spec', 'template')
  const metadata = { ...objectAt(template, 'metadata'), generateName: `${replicaSet.metadata.name}-` }
  return { metadata, spec: objectAt(template, 'spec') }
}

/** Surplus pods, those not ready first. */
function surplus(pods: readonly KubeObject[], count: number): KubeObject[] {
  return [...pods].sort((a, b) => Number(isReady(a)) - Number(isReady(b))).slice(0, Math.max(0, count))
}

function failureCondition(error: unknown, now: number): JsonObject[] {
  if (!isApiError(error)) return []
  const lastTransitionTime = timestamp(now)
  return [
    {
      type: 'ReplicaFailure',
      status: 'True',
      reason: 'FailedCreate',
      message: error.message,
      lastTransitionTime,
    },
  ]
}

export async function reconcileReplicaSet(actor: Actor, replicaSet: KubeObject): Promise<void> {
  if (isTerminating(replicaSet)) return
  const wanted = Number(objectAt(replicaSet, 'spec').replicas ?? 1)
  const active = podsOf(actor.store, replicaSet).filter(isActive)
  for (const pod of surplus(active, active.length - wanted)) await actor.remove(PODS, pod)
  let failure: unknown
  try {
    for (let count = active.length; count < wanted; count++)
      await actor.createPod(replicaSet, podFor(replicaSet))
  } catch (error) {
    failure = error
  }
  const pods = podsOf(actor.store, replicaSet).filter(isActive)
  const ready = pods.filter(isReady).length
  const before = objectAt(replicaSet, 'status').conditions
  const failed = failureCondition(failure, actor.now())
  const sameFailure =
    Array.isArray(before) &&
    before.length > 0 &&
    failed.length > 0 &&
    before[0]?.message === failed[0]?.message
  await actor.setStatus(REPLICA_SETS, replicaSet, {
    replicas: pods.length,
    fullyLabeledReplicas: pods.length,
    readyReplicas: ready,
    availableReplicas: ready,
    observedGeneration: replicaSet.metadata.generation,
    conditions: sameFailure ? before : failed,
  })
  if (failure !== undefined) throw failure
}
