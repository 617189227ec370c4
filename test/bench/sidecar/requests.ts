/** What the injector adds to a pod whose only container requests this CPU, and the pod's request then. */
import { ownResources } from '../../../injector/patch/addition.ts'
import type { Container, Pod } from '../../../injector/pod/pod.ts'
import { podTotal } from '../../../injector/pod/resource-totals.ts'
import { amountOf } from '../../../injector/resources/quantity.ts'
import { MAX_RESOURCES, parseResources, SIDECAR_RESOURCES } from '../../../injector/resources/resources.ts'

/** The value `sidecar.resources`, as an operator sets it. */
const DEFAULT = '{}'
/** The default until 0.1.0. */
const FORMER = '{"requests":{"cpu":"5m"}}'

export type Requests = {
  /** Millicores. */
  readonly app: number
  readonly sidecar: number
  readonly gate: number
  readonly pod: number
  /** Requests of the sidecar and the gate. */
  readonly limit: number
}

/** @param beside millicores of a native sidecar of the pod's own; none unless given */
function requestsIn(appMillis: number, chosen: string, beside = 0): Requests {
  const read = parseResources(chosen, SIDECAR_RESOURCES, MAX_RESOURCES)
  if (!read.ok) throw new Error(read.detail)
  const container = (name: string, millis: number): Container =>
    millis === 0 ? { name } : { name, resources: { requests: { cpu: `${millis}m` } } }
  const native = { ...container('beside', beside), restartPolicy: 'Always' }
  const pod: Pod = {
    spec: { containers: [container('app', appMillis)], initContainers: beside === 0 ? [] : [native] },
  }
  const { sidecar, gate } = ownResources(pod, read.resources, 'two-stage')
  if (gate === undefined) throw new Error('a pod that starts in two stages has a gate')
  const ours = [
    { name: 'pod2iam-sidecar', resources: sidecar, restartPolicy: 'Always' },
    { name: 'pod2iam-gate', resources: gate },
  ]
  const whole = { spec: { ...pod.spec, initContainers: [...(pod.spec.initContainers ?? []), ...ours] } }
  const millis = (text: string) => amountOf('cpu', text) ?? 0
  return {
    app: appMillis,
    sidecar: millis(sidecar.requests.cpu),
    gate: millis(gate.requests.cpu),
    pod: podTotal(whole, 'requests', 'cpu') ?? 0,
    limit: millis(sidecar.limits.cpu),
  }
}

/** With the current default and, if that differs, with the former one. */
export function nowAndBefore(appMillis: number, beside = 0): readonly Requests[] {
  const [now, before] = [requestsIn(appMillis, DEFAULT, beside), requestsIn(appMillis, FORMER, beside)]
  return now.sidecar === before.sidecar && now.gate === before.gate ? [now] : [now, before]
}
