/**
 * The CPU that our containers request by default. The kernel divides a pod's processors in proportion to the requests of
 * its containers: with a small, fixed request the sidecar of an app that keeps all processors busy waits for seconds
 * (docs/decisions/0105). So the sidecar requests a hundredth of what the pod's containers request together, and the gate what the
 * scheduler reserves for the app anyway.
 */

import { amountOf, quantityText } from '../resources/quantity.ts'
import {
  type ChosenResources,
  gateResources,
  type OwnResources,
  type Resources,
} from '../resources/resources.ts'
import type { Pod } from './pod.ts'
import { isOurs } from './reserved.ts'
import { containerTotal, podTotal } from './resource-totals.ts'

/** Share of the pod's request. With half of it a fetch takes more than the permitted half second; twice as much saves only a tenth. */
const SHARE = 0.01
/** Enough beside an app that requests up to half a processor, or nothing. */
const MIN_MILLIS = 5
/**
 * On each processor the sidecar competes only with the part of the app that runs there, which weighs about one processor, however many
 * the app has.
 */
const MAX_MILLIS = 100

/** Resources of the sidecar and the gate in this pod, before they are fitted into those of the pod as a whole. */
export function inProportion(pod: Pod, chosen: ChosenResources): Record<keyof OwnResources, Resources> {
  const theirs = withoutOurs(pod)
  const total = podTotal(theirs, 'requests', 'cpu') ?? 0
  const sidecar = requesting(chosen, Math.min(Math.max(Math.ceil(total * SHARE), MIN_MILLIS), MAX_MILLIS))
  return { sidecar, gate: requesting(gateResources(chosen), Math.max(MIN_MILLIS, freeBeside(theirs))) }
}

/**
 * What the gate can request without increasing the pod's request: the gate ends before the app starts, so the scheduler counts the
 * larger of the two (KEP-753). Beside the gate at most all native sidecars of the pod run.
 */
function freeBeside({ spec }: Pod): number {
  const sidecars = (spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always')
  const total = containerTotal({ spec }, 'requests', 'cpu') ?? 0
  return total - (containerTotal({ spec: { containers: sidecars } }, 'requests', 'cpu') ?? 0)
}

function requesting({ requests, limits }: ChosenResources, millis: number): Resources {
  const max = amountOf('cpu', limits.cpu) ?? millis
  const { cpu = quantityText('cpu', Math.min(millis, max)), memory } = requests
  return { requests: { cpu, memory }, limits }
}

function withoutOurs(pod: Pod): Pod {
  const initContainers = (pod.spec.initContainers ?? []).filter((one) => !isOurs(one))
  return { ...pod, spec: { ...pod.spec, initContainers } }
}
