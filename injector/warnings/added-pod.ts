/** A pod with and without our containers, to compare what both use. */
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import type { Json } from '../json.ts'
import type { Container, Pod } from '../pod/pod.ts'
import { isOurs, ownContainer } from '../pod/reserved.ts'
import { amountIn } from '../pod/resource-totals.ts'
import { quantityText, type ResourceName } from '../resources/quantity.ts'
import type { OwnResources, Resources } from '../resources/resources.ts'

export type AddedPod = ReturnType<typeof addedPod>

/** @param own resources of what would be added; containers of ours that the pod already has keep theirs */
export function addedPod(pod: Pod, own: OwnResources) {
  /** The sidecar and, in a pod that starts in two stages, the gate. */
  const containers = [
    { name: SIDECAR_CONTAINER, resources: own.sidecar, restartPolicy: 'Always' } as const,
    ...(own.gate === undefined ? [] : [{ name: GATE_CONTAINER, resources: own.gate } as const]),
  ]
  const present = containers.map((container) => {
    const actual = ownContainer(pod, container.name)?.resources
    return actual === undefined
      ? container
      : { ...container, resources: complete(actual, container.resources) }
  })
  const theirs = (pod.spec.initContainers ?? []).filter((one) => !isOurs(one))
  const having = (initContainers: readonly Container[]): Pod => ({
    ...pod,
    spec: { ...pod.spec, initContainers },
  })
  return { containers: present, without: having(theirs), withOurs: having([...present, ...theirs]) }
}

/** The actual resources, completed by those that we would write. */
function complete(actual: Json, wanted: Resources): Resources {
  const list = (kind: keyof Resources) => {
    const of = (name: ResourceName) => {
      const amount = amountIn(actual, kind, name)
      return amount === undefined ? wanted[kind][name] : quantityText(name, amount)
    }
    return { cpu: of('cpu'), memory: of('memory') }
  }
  return { requests: list('requests'), limits: list('limits') }
}
