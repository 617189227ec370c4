/** DaemonSet: one pod per node that its pods fit, replaced node by node when the template changes. */

import { type JsonObject, type KubeObject, listAt, objectAt, stringAt } from '../objects/objects.ts'
import { resourceNamed } from '../objects/resources.ts'
import {
  type Actor,
  atLeastOne,
  isReady,
  isTerminating,
  phaseOf,
  podsOf,
  templateHash,
} from './controller-context.ts'
import { daemonTolerations, fitsDaemon } from './node-fit.ts'

const DAEMON_SETS = resourceNamed('daemonsets')
const PODS = resourceNamed('pods')
const NODES = resourceNamed('nodes')
const HASH = 'controller-revision-hash'
const REQUIRED = 'requiredDuringSchedulingIgnoredDuringExecution'

/** The node of a daemon pod: the assigned one, or that of the affinity which the controller has set. */
function nodeOf(pod: KubeObject): string {
  const assigned = stringAt(pod, 'spec', 'nodeName')
  if (assigned) return assigned
  const [term] = listAt(pod, 'spec', 'affinity', 'nodeAffinity', REQUIRED, 'nodeSelectorTerms')
  const values = listAt(term, 'matchFields')[0]?.values
  return Array.isArray(values) ? String(values[0]) : ''
}

function podFor(daemonSet: KubeObject, node: string, hash: string) {
  const template = objectAt(daemonSet, 'spec', 'template')
  const spec = objectAt(template, 'spec')
  const metadata = objectAt(template, 'metadata')
  const onNode = {
    nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [node] }] }],
  }
  const nodeAffinity = { ...objectAt(spec, 'affinity', 'nodeAffinity'), [REQUIRED]: onNode }
  return {
    metadata: {
      ...metadata,
      generateName: `${daemonSet.metadata.name}-`,
      labels: {
        ...(objectAt(metadata, 'labels') as Record<string, string>),
        [HASH]: hash,
        'pod-template-generation': String(daemonSet.metadata.generation ?? 1),
      },
    },
    spec: {
      ...spec,
      affinity: { ...objectAt(spec, 'affinity'), nodeAffinity },
      tolerations: [...listAt(spec, 'tolerations'), ...daemonTolerations(spec)],
    },
  }
}

/** Old pods that may be deleted now: those that are not ready anyway, and as many others as may be unavailable. */
function outdated(
  daemonSet: KubeObject,
  pods: readonly KubeObject[],
  hash: string,
  wanted: number,
): KubeObject[] {
  const strategy = objectAt(daemonSet, 'spec', 'updateStrategy')
  if (strategy.type === 'OnDelete') return []
  const old = pods.filter((pod) => !isTerminating(pod) && pod.metadata.labels?.[HASH] !== hash)
  const broken = old.filter((pod) => !isReady(pod))
  const allowed = atLeastOne(objectAt(strategy, 'rollingUpdate').maxUnavailable, wanted)
  const unavailable = wanted - pods.filter(isReady).length
  return [...broken, ...old.filter(isReady).slice(0, Math.max(0, allowed - unavailable))]
}

function statusOf(
  daemonSet: KubeObject,
  pods: readonly KubeObject[],
  wanted: number,
  hash: string,
): JsonObject {
  const ready = pods.filter(isReady).length
  return {
    currentNumberScheduled: pods.length,
    desiredNumberScheduled: wanted,
    numberMisscheduled: 0,
    numberReady: ready,
    numberAvailable: ready,
    numberUnavailable: wanted - ready,
    updatedNumberScheduled: pods.filter((pod) => pod.metadata.labels?.[HASH] === hash).length,
    observedGeneration: daemonSet.metadata.generation,
  }
}

export async function reconcileDaemonSet(actor: Actor, daemonSet: KubeObject): Promise<void> {
  if (isTerminating(daemonSet)) return
  const { store } = actor
  const template = objectAt(daemonSet, 'spec', 'template')
  const hash = templateHash(template)
  const nodes = store.list(NODES).filter((node) => fitsDaemon(objectAt(template, 'spec'), node))
  const names = new Set(nodes.map((node) => node.metadata.name ?? ''))
  const pods = podsOf(store, daemonSet)
  for (const pod of pods)
    if (!isTerminating(pod) && (!names.has(nodeOf(pod)) || phaseOf(pod) === 'Failed'))
      await actor.remove(PODS, pod)
  const living = podsOf(store, daemonSet)
  for (const pod of outdated(daemonSet, living, hash, names.size)) await actor.remove(PODS, pod)

  let failure: unknown
  for (const name of names) {
    // The next pod starts only when the terminating one is gone.
    if (podsOf(store, daemonSet).some((pod) => nodeOf(pod) === name)) continue
    try {
      await actor.bind(await actor.createPod(daemonSet, podFor(daemonSet, name, hash)), name)
    } catch (error) {
      failure ??= error
    }
  }
  const now = podsOf(store, daemonSet).filter((pod) => !isTerminating(pod))
  await actor.setStatus(DAEMON_SETS, daemonSet, statusOf(daemonSet, now, names.size, hash))
  if (failure !== undefined) throw failure
}
