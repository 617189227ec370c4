/** A pod's status from its containers' statuses, as the kubelet computes it. Pure. */
import type { ContainerStatus, Pod, PodCondition, PodPhase, PodStatus } from './pod.ts'

export type Observed = {
  readonly pod: Pod
  readonly hostIPs: readonly string[]
  /** Undefined while the kubelet has not reported them. */
  readonly podIPs: readonly string[] | undefined
  readonly startTime: string
  readonly initContainers: readonly ContainerStatus[]
  readonly containers: readonly ContainerStatus[]
  /** Every init container has succeeded, and sidecars have started. */
  readonly initialized: boolean
  /** All containers, sidecars included, have ended for the last time. */
  readonly finished: boolean
  readonly initFailed: boolean
}

/** @param previous conditions whose transition times are kept when their status did not change */
export function podStatus(observed: Observed, previous: readonly PodCondition[], now: string): PodStatus {
  const { pod, hostIPs, podIPs } = observed
  const phase = podPhase(observed)
  return {
    phase,
    startTime: observed.startTime,
    ...(hostIPs[0] === undefined ? {} : { hostIP: hostIPs[0], hostIPs: hostIPs.map((ip) => ({ ip })) }),
    ...(podIPs?.[0] === undefined ? {} : { podIP: podIPs[0], podIPs: podIPs.map((ip) => ({ ip })) }),
    conditions: conditions(observed, phase, previous, now),
    ...(pod.spec.initContainers === undefined ? {} : { initContainerStatuses: observed.initContainers }),
    containerStatuses: observed.containers,
  }
}

/** pkg/kubelet/kubelet_pods.go, getPhase. */
function podPhase(observed: Observed): PodPhase {
  const { containers, initialized, finished, initFailed } = observed
  if (initFailed && finished) return 'Failed'
  if (!initialized) return 'Pending'
  if (finished) {
    const codes = containers.map(({ state }) => ('terminated' in state ? state.terminated.exitCode : 0))
    return codes.every((code) => code === 0) ? 'Succeeded' : 'Failed'
  }
  const ranBefore = ({ state, lastState }: ContainerStatus) =>
    !('waiting' in state) || 'terminated' in lastState
  return containers.every(ranBefore) ? 'Running' : 'Pending'
}

function conditions(
  observed: Observed,
  phase: PodPhase,
  previous: readonly PodCondition[],
  now: string,
): PodCondition[] {
  const { containers, initContainers, initialized, podIPs, pod } = observed
  const sidecars = initContainers.filter((status) =>
    pod.spec.initContainers?.some(
      ({ name, restartPolicy }) => name === status.name && restartPolicy === 'Always',
    ),
  )
  const unready = [...sidecars, ...containers].filter(({ ready }) => !ready).map(({ name }) => name)
  const completed = phase === 'Succeeded' || phase === 'Failed'
  const why = completed
    ? { reason: phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed' }
    : { reason: 'ContainersNotReady', message: `containers with unready status: [${unready.join(' ')}]` }
  const ready = unready.length === 0 && !completed
  const make = (type: string, ok: boolean, details: { reason?: string; message?: string } = {}) =>
    condition(type, ok, ok ? {} : details, previous, now)
  return [
    make('PodScheduled', true),
    make('PodReadyToStartContainers', podIPs !== undefined && !completed),
    make('Initialized', initialized, { reason: 'ContainersNotInitialized' }),
    make('ContainersReady', ready, why),
    make('Ready', ready, why),
  ]
}

function condition(
  type: string,
  ok: boolean,
  details: { reason?: string; message?: string },
  previous: readonly PodCondition[],
  now: string,
): PodCondition {
  const status = ok ? 'True' : 'False'
  const before = previous.find((one) => one.type === type)
  const lastTransitionTime = before?.status === status ? before.lastTransitionTime : now
  return { type, status, lastTransitionTime, ...details }
}
