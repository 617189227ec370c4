/** How far the start of a pod has got: what the kubelet reports about our containers. */
import type { V1ContainerState, V1ContainerStatus, V1Pod } from '@kubernetes/client-node'
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { type Finding, failed, notChecked, ok } from './step.ts'

const describe = ({ metadata }: V1Pod) => `kubectl -n ${metadata?.namespace} describe pod ${metadata?.name}`
const logs = ({ metadata }: V1Pod, container: string) =>
  `kubectl -n ${metadata?.namespace} logs ${metadata?.name} -c ${container} --previous`

/** Whether the pod is on a node. */
export function scheduledFinding(pod: V1Pod): Finding {
  const { nodeName } = pod.spec ?? {}
  if (nodeName) return ok(`it is on node ${nodeName}`)
  const why = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled')?.message
  return failed(
    'not-scheduled',
    `no node has been found for it${why ? `: ${why}` : ' yet'}`,
    `${describe(pod)} shows what the scheduler waits for`,
  )
}

/** Whether the kubelet has started the sidecar. */
export function sidecarFinding(pod: V1Pod): Finding {
  const before = othersBefore(pod)
  if (before !== undefined)
    return failed(
      'other-init-container',
      `init container ${before} comes first and has not completed`,
      `kubectl -n ${pod.metadata?.namespace} logs ${pod.metadata?.name} -c ${before}`,
    )
  const status = statusOf(pod, SIDECAR_CONTAINER)
  const { running, waiting, terminated } = status?.state ?? {}
  if (running) {
    const restarts = status?.restartCount ?? 0
    return ok(restarts === 0 ? 'it runs' : `it runs, after ${restarts} restarts`)
  }
  const last = lastError(status)
  if (last !== undefined)
    return failed('sidecar-ended', `${SIDECAR_CONTAINER} ended: ${last}`, logs(pod, SIDECAR_CONTAINER))
  if (waiting?.reason && !['PodInitializing', 'ContainerCreating'].includes(waiting.reason))
    return failed(
      'sidecar-not-started',
      `the kubelet cannot start ${SIDECAR_CONTAINER}: ${waiting.reason}${waiting.message ? `: ${waiting.message}` : ''}`,
      describe(pod),
    )
  if (terminated) return notChecked('it has ended with its pod')
  // While a start hook runs, the kubelet reports nothing about the pod.
  return notChecked('the kubelet has not reported it as running yet')
}

/** Whether the gate let the pod's own containers start; undefined if the pod has no gate. */
export function gateState(pod: V1Pod): 'passed' | 'waits' | 'ended' | 'not-started' | undefined {
  if (!pod.spec?.initContainers?.some(({ name }) => name === GATE_CONTAINER)) return undefined
  const { running, terminated, waiting } = statusOf(pod, GATE_CONTAINER)?.state ?? {}
  if (running) return 'waits'
  if (terminated) return terminated.exitCode === 0 ? 'passed' : 'ended'
  return waiting?.reason === 'CrashLoopBackOff' ? 'ended' : 'not-started'
}

/** Whether the pod's own containers may start, which they do after the first credentials. */
export function mayStart(pod: V1Pod): boolean {
  const gate = gateState(pod)
  // Without a gate, the sidecar's start hook holds them back; with a gate, the sidecar counts as started at once.
  return gate === undefined ? statusOf(pod, SIDECAR_CONTAINER)?.started === true : gate === 'passed'
}

/** The message of a container that last ended with an error: its termination message, which is the end of its log. */
export function lastError(status: V1ContainerStatus | undefined): string | undefined {
  const ended = [status?.state, status?.lastState].map((state) => state?.terminated)
  const one = ended.find((state) => state !== undefined && state.exitCode !== 0)
  if (one === undefined) return undefined
  return lastSentence(one.message) ?? `exit code ${one.exitCode}${one.reason ? ` (${one.reason})` : ''}`
}

export function statusOf(pod: V1Pod, container: string): V1ContainerStatus | undefined {
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status ?? {}
  return [...initContainerStatuses, ...containerStatuses].find(({ name }) => name === container)
}

/** The message in the last of several JSON lines. */
function lastSentence(message: string | undefined): string | undefined {
  const line = message?.trim().split('\n').at(-1)
  if (!line) return undefined
  try {
    const { msg, detail } = JSON.parse(line)
    return [msg, detail].filter((one) => typeof one === 'string').join(': ') || line
  } catch {
    return line
  }
}

/** An init container before the sidecar that has not completed. */
function othersBefore(pod: V1Pod): string | undefined {
  const inits = pod.spec?.initContainers ?? []
  const own = inits.findIndex(({ name }) => name === SIDECAR_CONTAINER)
  return inits
    .slice(0, Math.max(0, own))
    .find((one) => !isThrough(statusOf(pod, one.name), one.restartPolicy))?.name
}

function isThrough(status: V1ContainerStatus | undefined, restartPolicy: string | undefined): boolean {
  const { running, terminated }: V1ContainerState = status?.state ?? {}
  if (restartPolicy === 'Always') return running !== undefined && status?.started !== false
  return terminated?.exitCode === 0
}
