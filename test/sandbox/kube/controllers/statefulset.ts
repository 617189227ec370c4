/** StatefulSet: pods with ordinals, created one after another, each of which keeps its name. */

import { type KubeObject, objectAt } from '../objects/objects.ts'
import { resourceNamed } from '../objects/resources.ts'
import { type Actor, isReady, isTerminating, podsOf, templateHash } from './controller-context.ts'

const STATEFUL_SETS = resourceNamed('statefulsets')
const PODS = resourceNamed('pods')
const HASH = 'controller-revision-hash'

function podFor(set: KubeObject, ordinal: number, revision: string) {
  const template = objectAt(set, 'spec', 'template')
  const metadata = objectAt(template, 'metadata')
  const name = `${set.metadata.name}-${ordinal}`
  return {
    metadata: {
      ...metadata,
      name,
      labels: {
        ...(objectAt(metadata, 'labels') as Record<string, string>),
        [HASH]: revision,
        'statefulset.kubernetes.io/pod-name': name,
        'apps.kubernetes.io/pod-index': String(ordinal),
      },
    },
    spec: { ...objectAt(template, 'spec'), hostname: name, subdomain: objectAt(set, 'spec').serviceName },
  }
}

export async function reconcileStatefulSet(actor: Actor, set: KubeObject): Promise<void> {
  if (isTerminating(set)) return
  const spec = objectAt(set, 'spec')
  const wanted = Number(spec.replicas ?? 1)
  const revision = `${set.metadata.name}-${templateHash(spec.template)}`
  const parallel = spec.podManagementPolicy === 'Parallel'
  const ordinalOf = (pod: KubeObject) => Number(pod.metadata.labels?.['apps.kubernetes.io/pod-index'])
  const byOrdinal = new Map(podsOf(actor.store, set).map((pod) => [ordinalOf(pod), pod]))
  for (const [ordinal, pod] of byOrdinal)
    if (ordinal >= wanted && !isTerminating(pod)) await actor.remove(PODS, pod)
  for (let ordinal = 0; ordinal < wanted; ordinal++) {
    const pod = byOrdinal.get(ordinal)
    if (pod === undefined) byOrdinal.set(ordinal, await actor.createPod(set, podFor(set, ordinal, revision)))
    const now = byOrdinal.get(ordinal)
    if (!parallel && (now === undefined || !isReady(now))) break
  }
  const pods = podsOf(actor.store, set)
  const rolling = objectAt(spec, 'updateStrategy').type !== 'OnDelete'
  const old = pods
    .filter((pod) => pod.metadata.labels?.[HASH] !== revision)
    .sort((a, b) => ordinalOf(b) - ordinalOf(a))[0]
  const settled = pods.length === wanted && pods.every((pod) => isReady(pod) || pod === old)
  if (rolling && settled && old !== undefined && !isTerminating(old)) await actor.remove(PODS, old)
  const updated = pods.filter((pod) => pod.metadata.labels?.[HASH] === revision).length
  await actor.setStatus(STATEFUL_SETS, set, {
    replicas: pods.length,
    readyReplicas: pods.filter(isReady).length,
    availableReplicas: pods.filter(isReady).length,
    currentReplicas: updated,
    updatedReplicas: updated,
    updateRevision: revision,
    observedGeneration: set.metadata.generation,
  })
}
