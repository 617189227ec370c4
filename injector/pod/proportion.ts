/**
 * The CPU that our containers request where nobody has chosen it. The kernel divides a pod's processors by what its containers request:
 * with a fixed, small request the sidecar of an app that keeps all of them busy waits for seconds (docs/decisions/0105). So the sidecar
 * asks for a hundredth of what the pod's containers request together, and the gate for what the scheduler reserves for the app anyway.
 */

import type { Pod } from './pod.ts'
import { amountOf, quantityText } from './quantity.ts'
import { isOurs } from './reserved.ts'
import { type ChosenResources, gateResources, type OwnResources, type Resources } from './resources.ts'
import { containerTotal, podTotal } from './total.ts'

/** Of what the pod requests. Half of it misses the half second in which a whole fetch must be done; twice as much gains a tenth. */
const SHARE = 0.01
/** Millicores. Enough beside an app that requests up to half a processor, or nothing. */
const MIN_MILLIS = 5
/**
 * Millicores. On one processor the sidecar competes with that part of the app that runs there, whose weight is about a processor's
 * however many the app has.
 */
const MAX_MILLIS = 100

/** What the sidecar and the gate request and are limited to in this pod, before it is fitted into what the pod has as a whole. */
export function inProportion(pod: Pod, chosen: ChosenResources): Record<keyof OwnResources, Resources> {
  const theirs = withoutOurs(pod)
  const total = podTotal(theirs, 'requests', 'cpu') ?? 0
  const sidecar = requesting(chosen, Math.min(Math.max(Math.ceil(total * SHARE), MIN_MILLIS), MAX_MILLIS))
  return { sidecar, gate: requesting(gateResources(chosen), Math.max(MIN_MILLIS, freeBeside(theirs))) }
}

/**
 * What the gate can request without the pod's request growing: the gate ends before the app starts, so the scheduler takes the greater of
 * both (KEP-753). Beside the gate run, at most, all native sidecars of the pod.
 */
function freeBeside({ spec }: Pod): number {
  const sidecars = (spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always')
  const total = containerTotal({ spec }, 'requests', 'cpu') ?? 0
  return total - (containerTotal({ spec: { containers: sidecars } }, 'requests', 'cpu') ?? 0)
}

function requesting({ requests, limits }: ChosenResources, millis: number): Resources {
  const most = amountOf('cpu', limits.cpu) ?? millis
  const { cpu = quantityText('cpu', Math.min(millis, most)), memory } = requests
  return { requests: { cpu, memory }, limits }
}

function withoutOurs(pod: Pod): Pod {
  const initContainers = (pod.spec.initContainers ?? []).filter((one) => !isOurs(one))
  return { ...pod, spec: { ...pod.spec, initContainers } }
}
