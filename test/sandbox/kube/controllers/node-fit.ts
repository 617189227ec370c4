/** Whether a node may run a daemon pod: selector, affinity on labels, taints. */
import { type JsonObject, type KubeObject, listAt, objectAt, stringAt } from '../objects/objects.ts'
import { matchesLabelSelector } from '../objects/selectors.ts'

/** Added to every daemon pod (pkg/controller/daemon/util/daemonset_util.go). */
export function daemonTolerations(spec: JsonObject): JsonObject[] {
  const noSchedule = ['disk-pressure', 'memory-pressure', 'pid-pressure', 'unschedulable']
  if (spec.hostNetwork === true) noSchedule.push('network-unavailable')
  return [
    ...['not-ready', 'unreachable'].map((name) => ({ name, effect: 'NoExecute' })),
    ...noSchedule.map((name) => ({ name, effect: 'NoSchedule' })),
  ].map(({ name, effect }) => ({ key: `node.kubernetes.io/${name}`, operator: 'Exists', effect }))
}

function tolerates(toleration: JsonObject, taint: JsonObject): boolean {
  const { key, operator = 'Equal', value = '', effect } = toleration
  if (effect !== undefined && effect !== '' && effect !== taint.effect) return false
  if (key === undefined || key === '') return operator === 'Exists'
  return key === taint.key && (operator === 'Exists' || value === (taint.value ?? ''))
}

function affinityAllows(spec: JsonObject, node: KubeObject): boolean {
  const required = objectAt(
    spec,
    'affinity',
    'nodeAffinity',
    'requiredDuringSchedulingIgnoredDuringExecution',
  )
  const terms = listAt(required, 'nodeSelectorTerms')
  const labels = node.metadata.labels ?? {}
  const fields = { 'metadata.name': node.metadata.name ?? '' }
  return (
    terms.length === 0 ||
    terms.some(
      (term) =>
        matchesLabelSelector({ matchExpressions: listAt(term, 'matchExpressions') }, labels) &&
        matchesLabelSelector({ matchExpressions: listAt(term, 'matchFields') }, fields),
    )
  )
}

/** Whether pods with this spec and the daemon tolerations belong on the node. */
export function fitsDaemon(spec: JsonObject, node: KubeObject): boolean {
  const labels = node.metadata.labels ?? {}
  const selected = Object.entries(objectAt(spec, 'nodeSelector')).every(
    ([key, value]) => labels[key] === value,
  )
  const tolerations = [...listAt(spec, 'tolerations'), ...daemonTolerations(spec)]
  const tainted = listAt(node, 'spec', 'taints').some(
    (taint) =>
      stringAt(taint, 'effect') !== 'PreferNoSchedule' && !tolerations.some((one) => tolerates(one, taint)),
  )
  return selected && !tainted && affinityAllows(spec, node)
}
