/** Warns where the resources of the pod as a whole leave too little CPU for the sidecar. */
import type { Pod } from '../pod/pod.ts'
import { inProportion } from '../pod/proportion.ts'
import { podLevelAmount } from '../pod/resource-totals.ts'
import { amountOf, quantityText } from '../resources/quantity.ts'
import type { ChosenResources, OwnResources } from '../resources/resources.ts'

/** @param resources of our containers, after they were fitted into the pod */
export function sidecarCpuWarnings(pod: Pod, chosen: ChosenResources, resources: OwnResources): string[] {
  const whole = podLevelAmount(pod, 'requests', 'cpu')
  const wanted = inProportion(pod, chosen).sidecar.requests.cpu
  const given = resources.sidecar.requests.cpu
  if (whole === undefined || (amountOf('cpu', given) ?? 0) >= (amountOf('cpu', wanted) ?? 0)) return []
  return [
    `the pod as a whole requests ${quantityText('cpu', whole)} of cpu, and its containers leave ${given} of it to the sidecar, which needs ` +
      `${wanted}: credentials come late while the app keeps every core busy; raise spec.resources.requests.cpu`,
  ]
}
