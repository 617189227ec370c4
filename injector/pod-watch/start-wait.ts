/**
 * Since when a pod has been waiting for our part of its start. Pure.
 *
 * While a start hook runs, the kubelet does not update the pod's status: it is still the one from before the sidecar's container was
 * created, without an address (kubernetes, Kubelet.SyncPod writes the status first and then runs the hooks). It looks the same while
 * volumes are mounted or images pulled. More is known only where the sidecar was started before, and ended.
 */
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { isObject, type Json, type JsonObject, objectOf, objectsOf } from '../json.ts'

/** Time for mounting and pulling, which cannot be distinguished from waiting. */
const UNSEEN_MS = 60_000

/** Whether the sidecar's start hook, and not a gate, holds back the pod's own containers. */
export function startsAlone(spec: JsonObject): boolean {
  const own = named(spec.initContainers, SIDECAR_CONTAINER)
  return isObject(own?.lifecycle) && named(spec.initContainers, GATE_CONTAINER) === undefined
}

/** Milliseconds since 1970, or undefined if the pod does not wait; for a gate, the time when it started. */
export function waitingSince(spec: JsonObject, status: JsonObject): number | undefined {
  if (startsAlone(spec)) return aloneSince(spec, status)
  return time(
    objectOf(objectOf(named(status.initContainerStatuses, GATE_CONTAINER)?.state).running).startedAt,
  )
}

function aloneSince(spec: JsonObject, status: JsonObject): number | undefined {
  const own = named(status.initContainerStatuses, SIDECAR_CONTAINER) ?? {}
  // Beside a running app only the sidecar restarts, and its hook holds nothing back.
  const isOver = own.started === true || objectsOf(status.containerStatuses).some(isRunning)
  const before = timesOfEarlier(spec, status)
  if (isOver || before === undefined) return undefined
  const mayStartAt = latest([...before, ...timesOfConditions(status)])
  if (mayStartAt === undefined) return undefined
  const [state, last] = [objectOf(own.state), objectOf(own.lastState)]
  const startedAt = latest(
    [state.running, state.terminated, last.terminated].map((one) => time(objectOf(one).startedAt)),
  )
  return startedAt !== undefined && startedAt >= mayStartAt ? startedAt : mayStartAt + UNSEEN_MS
}

/** When each init container before the sidecar had finished or started; undefined if one has not yet. */
function timesOfEarlier(spec: JsonObject, status: JsonObject): readonly number[] | undefined {
  const inits = objectsOf(spec.initContainers)
  const times = inits
    .slice(
      0,
      inits.findIndex(({ name }) => name === SIDECAR_CONTAINER),
    )
    .map(({ name }) => {
      const { state, started } = named(status.initContainerStatuses, name) ?? {}
      const { running, terminated } = objectOf(state)
      if (started === true) return time(objectOf(running).startedAt)
      return objectOf(terminated).exitCode === 0 ? time(objectOf(terminated).finishedAt) : undefined
    })
  return times.every((one) => one !== undefined) ? times : undefined
}

/**
 * When its init containers began. For the kubelet a pod that was initialized once stays so after a reboot of its node
 * (HasAnyRegularContainerStarted); its new sandbox is shown by another condition, from Kubernetes 1.29 on.
 */
function timesOfConditions({ conditions }: JsonObject): readonly (number | undefined)[] {
  const of = (type: string) => objectsOf(conditions).find((one) => one.type === type)
  const [initialized, sandbox] = [of('Initialized'), of('PodReadyToStartContainers')]
  const isFirst = initialized?.status === 'False'
  return [
    isFirst ? time(initialized.lastTransitionTime) : undefined,
    isFirst && sandbox?.status !== 'False' ? undefined : time(sandbox?.lastTransitionTime),
  ]
}

function latest(times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((one) => one !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}

const isRunning = ({ state }: JsonObject) => isObject(objectOf(state).running)

function time(value: Json | undefined): number | undefined {
  const milliseconds = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(milliseconds) ? undefined : milliseconds
}

const named = (list: Json | undefined, name: Json | undefined) =>
  objectsOf(list).find((one) => one.name === name)
