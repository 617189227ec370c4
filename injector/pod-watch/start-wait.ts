/**
 * Since when a pod has been waiting for our part of its start. Pure.
 *
 * While a start hook runs, the kubelet says nothing of the pod: its status is as it was when the sidecar's container had not been created
 * yet, without an address (kubernetes, Kubelet.SyncPod writes the status first and runs hooks inside). It looks no different while volumes are
 * mounted or images pulled. Only where the sidecar was started before, and ended, more is known.
 */
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'

/** How long mounting and pulling may take where it cannot be told from a wait. */
const UNSEEN_MS = 60_000

/** Whether the sidecar holds the pod's own containers back by its start hook, and no gate does. */
export function startsAlone(spec: JsonObject): boolean {
  const own = named(spec.initContainers, SIDECAR_CONTAINER)
  return isObject(own?.lifecycle) && named(spec.initContainers, GATE_CONTAINER) === undefined
}

/** Milliseconds since 1970, or undefined where it does not wait; for a gate, since it runs. */
export function waitingSince(spec: JsonObject, status: JsonObject): number | undefined {
  if (startsAlone(spec)) return aloneSince(spec, status)
  return time(part(part(named(status.initContainerStatuses, GATE_CONTAINER)?.state).running).startedAt)
}

function aloneSince(spec: JsonObject, status: JsonObject): number | undefined {
  const own = named(status.initContainerStatuses, SIDECAR_CONTAINER) ?? {}
  // Beside a running app the sidecar alone is restarted, and its hook waits for nothing.
  const isOver = own.started === true || objects(status.containerStatuses).some(isRunning)
  const before = timesOfEarlier(spec, status)
  if (isOver || before === undefined) return undefined
  const mayStartAt = latest([...before, ...timesOfConditions(status)])
  if (mayStartAt === undefined) return undefined
  const [state, last] = [part(own.state), part(own.lastState)]
  const startedAt = latest(
    [state.running, state.terminated, last.terminated].map((one) => time(part(one).startedAt)),
  )
  return startedAt !== undefined && startedAt >= mayStartAt ? startedAt : mayStartAt + UNSEEN_MS
}

/** When each init container in front of the sidecar let it start; undefined where one has not yet. */
function timesOfEarlier(spec: JsonObject, status: JsonObject): readonly number[] | undefined {
  const inits = objects(spec.initContainers)
  const times = inits
    .slice(
      0,
      inits.findIndex(({ name }) => name === SIDECAR_CONTAINER),
    )
    .map(({ name }) => {
      const { state, started } = named(status.initContainerStatuses, name) ?? {}
      const { running, terminated } = part(state)
      if (started === true) return time(part(running).startedAt)
      return part(terminated).exitCode === 0 ? time(part(terminated).finishedAt) : undefined
    })
  return times.every((one) => one !== undefined) ? times : undefined
}

/**
 * Since when its init containers are under way. A pod that was initialized once stays so for the kubelet when its node has rebooted
 * (HasAnyRegularContainerStarted): of its new sandbox another condition tells, from Kubernetes 1.29 on.
 */
function timesOfConditions({ conditions }: JsonObject): readonly (number | undefined)[] {
  const of = (type: string) => objects(conditions).find((one) => one.type === type)
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

const isRunning = ({ state }: JsonObject) => isObject(part(state).running)

function time(value: Json | undefined): number | undefined {
  const milliseconds = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(milliseconds) ? undefined : milliseconds
}

const named = (list: Json | undefined, name: Json | undefined) =>
  objects(list).find((one) => one.name === name)
const part = (value: Json | undefined): JsonObject => (isObject(value) ? value : {})
const objects = (value: Json | undefined): JsonObject[] =>
  Array.isArray(value) ? value.filter(isObject) : []
