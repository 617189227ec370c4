/** Conditions of a pod that tests wait for, and the description of a pod for which the wait fails. */
import type { ContainerStatus, Pod, PodPhase } from './pod.ts'

export type PodPredicate = (pod: Pod | undefined) => boolean

/** Condition Ready is True. */
export const isReady: PodPredicate = (pod) =>
  pod?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false

/** The pod no longer exists in the API. */
export const isGone: PodPredicate = (pod) => pod === undefined

/** `status.phase` is this one. */
export function hasPhase(phase: PodPhase): PodPredicate {
  return named(`phase ${phase}`, (pod) => pod?.status?.phase === phase)
}

/** The status of a container (sidecars and init containers included) satisfies the test. */
export function container(name: string, test: (status: ContainerStatus) => boolean): PodPredicate {
  return named(`container ${name}: ${test}`, (pod) => {
    const status = containerStatus(pod, name)
    return status !== undefined && test(status)
  })
}

/** A container of the pod's status by name. */
export function containerStatus(pod: Pod | undefined, name: string): ContainerStatus | undefined {
  const { initContainerStatuses = [], containerStatuses = [] } = pod?.status ?? {}
  return [...initContainerStatuses, ...containerStatuses].find((status) => status.name === name)
}

/** Phase and container states, one line each. */
export function describePod(pod: Pod | undefined): string {
  if (pod === undefined) return 'the API server does not have it'
  const { phase, conditions = [], initContainerStatuses = [], containerStatuses = [] } = pod.status ?? {}
  const unmet = conditions.filter(({ status }) => status !== 'True')
  return [
    `phase ${phase}, node ${pod.spec.nodeName ?? 'none'}`,
    ...unmet.map(({ type, reason, message }) => `${type}: ${reason ?? ''} ${message ?? ''}`),
    ...[...initContainerStatuses, ...containerStatuses].map(
      ({ name, restartCount, state, lastState }) =>
        `${name}: ${JSON.stringify(state)}, before ${JSON.stringify(lastState)}, ${restartCount} restarts`,
    ),
  ].join('\n')
}

function named(name: string, predicate: PodPredicate): PodPredicate {
  Object.defineProperty(predicate, 'name', { value: name })
  return predicate
}
