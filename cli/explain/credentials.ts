/** Whether the pod has its credentials, and if not, why: as the sidecar, the gate and the broker report it. */
import type { CoreV1Event, V1Pod } from '@kubernetes/client-node'
import { GATE_CONTAINER } from '../../common/keys.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { sidecarReadiness } from '../cluster/sidecar.ts'
import { remedyFor, type Subject } from './remedies.ts'
import { gateState, lastError, mayStart, statusOf } from './start.ts'
import { type Finding, failed, notChecked, ok, warning } from './step.ts'

/** The broker's Events by reason, and the code of each (node-guard/broker/audit/events.ts). */
const CODE_OF_REASON: Readonly<Record<string, string>> = {
  NamespaceNotEnabled: 'namespace-not-enabled',
  RoleNotAllowed: 'role-not-allowed',
  IdentityChanged: 'identity-changed',
  AssumeRoleDenied: 'sts-denied',
  AssumeRoleInvalid: 'sts-invalid',
  NodeUnguarded: 'node-unguarded',
  InjectionMissing: 'injection-missing',
  GateWaiting: 'gate-waiting',
}
const TAIL_LINES = 50

/** The Events that pod2iam wrote about the pod, newest first. */
export type PodEvent = { readonly code: string; readonly note: string; readonly at: number }

export async function eventsOn(cluster: Cluster, pod: V1Pod): Promise<readonly PodEvent[] | undefined> {
  const { namespace = '', name, uid } = pod.metadata ?? {}
  const asked = { verb: 'list', resource: 'events', namespace } as const
  const answer = await cluster.askAll(asked, (query, options) =>
    cluster.core.listNamespacedEvent(
      { namespace, fieldSelector: `involvedObject.name=${name}`, ...query },
      options,
    ),
  )
  if (answer.kind !== 'found') return undefined
  return answer.value
    .filter(
      ({ reportingComponent = '', involvedObject }) =>
        reportingComponent.startsWith('pod2iam.dev/') && involvedObject.uid === uid,
    )
    .map(podEventOf)
    .sort((one, other) => other.at - one.at)
}

/** The content of an Event of pod2iam. */
export function podEventOf({
  reason = '',
  message: note = '',
  series,
  eventTime,
  metadata,
}: CoreV1Event): PodEvent {
  const at = series?.lastObservedTime ?? eventTime ?? metadata?.creationTimestamp
  return { code: CODE_OF_REASON[reason] ?? reason, note, at: at ? new Date(at).getTime() : 0 }
}

/** What the gate has found about the block and the redirect of its pod. */
export async function blockFinding(cluster: Cluster, pod: V1Pod): Promise<Finding> {
  const gate = gateState(pod)
  if (gate === undefined) return ok('it has no gate: the sidecar proves the block itself')
  if (gate === 'passed') return ok('the gate has proven the block and let the pod start')
  const last = lastError(statusOf(pod, GATE_CONTAINER))
  const { namespace, name } = pod.metadata ?? {}
  const remedy = `pod2iam status shows the block of its node; kubectl -n ${namespace} logs ${name} -c ${GATE_CONTAINER}`
  if (gate === 'ended')
    return failed('gate-ended', `${GATE_CONTAINER} ended: ${last ?? 'it gave no reason'}`, remedy)
  if (gate === 'not-started') return notChecked('the gate has not been started yet')
  const waits = await lastWait(cluster, pod)
  if (waits === undefined) return notChecked('the gate is still running')
  if (waits.msg === 'waiting for the block') return failed('block-not-proven', waits.detail, remedy)
  if (waits.msg === 'waiting for the redirect')
    return failed('redirect-not-loaded', waits.detail, 'set pod2iam.dev/redirect: env in the pod’s template')
  return ok('the gate has proven the block, and waits for the sidecar')
}

/** Whether the sidecar has credentials, according to the sidecar itself or, if it cannot be asked, to Events. */
export async function credentialsFinding(
  cluster: Cluster,
  pod: V1Pod,
  subject: Subject,
  events: readonly PodEvent[] | undefined,
): Promise<Finding> {
  const { namespace = '', name = '' } = pod.metadata ?? {}
  const asked = await sidecarReadiness(cluster, { namespace, name })
  if (asked.kind === 'reached') {
    const { ready, code, detail } = asked.value
    if (ready) return ok('the sidecar is ready and serves them')
    return failed(code, detail ?? `the sidecar says ${code}`, remedyFor(code, subject))
  }
  const newest = events?.find(({ code }) => code !== 'gate-waiting') ?? events?.[0]
  const isThrough = mayStart(pod)
  if (newest !== undefined && !isThrough)
    return failed(newest.code, reported(newest), remedyFor(newest.code, subject))
  const why =
    asked.kind === 'forbidden'
      ? 'you may not ask its sidecar'
      : `its sidecar could not be asked: ${asked.detail}`
  if (!isThrough) return notChecked(`${why}, and it has no Event of pod2iam`)
  // The pod's own containers were started, which happens after the first credentials.
  return newest === undefined
    ? ok(`the pod was started, which is after its first credentials (${why})`)
    : warning(newest.code, `the pod was started, but later: ${reported(newest)}`)
}

/** The sentence of an Event with its time: the sidecar may have got credentials since, of which there is no Event. */
const reported = ({ note, at }: PodEvent) =>
  at === 0 ? note : `${note} (Event of ${new Date(at).toISOString()})`

async function lastWait(
  cluster: Cluster,
  pod: V1Pod,
): Promise<{ readonly msg: string; readonly detail: string } | undefined> {
  const { namespace = '', name = '' } = pod.metadata ?? {}
  const log = await cluster.ask({ verb: 'get', resource: 'pods/log', namespace }, (options) =>
    cluster.core.readNamespacedPodLog(
      { namespace, name, container: GATE_CONTAINER, tailLines: TAIL_LINES },
      options,
    ),
  )
  if (log.kind !== 'found') return undefined
  for (const line of log.value.trim().split('\n').reverse()) {
    try {
      const { msg, detail } = JSON.parse(line)
      if (typeof msg === 'string' && msg.startsWith('waiting for'))
        return { msg, detail: typeof detail === 'string' ? detail : msg }
    } catch {
      // Not a log line of ours.
    }
  }
  return undefined
}
