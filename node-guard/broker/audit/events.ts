/**
 * Refusals as Events on the pod, so that `kubectl describe pod` says what its owner must change. One Event per pod and
 * reason, its count kept up to date; few per second, whatever pods do.
 */
import { createHash } from 'node:crypto'
import { BoundedMap } from '../../../common/bounded-map.ts'
import type { Clock } from '../../../common/clock.ts'
import { messageOf } from '../../../common/errors.ts'
import { type Kube, KubeError } from '../../../common/kube/client.ts'
import type { Logger } from '../../../common/log.ts'
import type { Problem, ProblemCode } from '../../../common/protocol.ts'
import { tokenBucket } from '../../../common/token-bucket.ts'
import type { PodRecord } from '../kubernetes/pod.ts'

/** What a person has to change. What passes by itself is no Event. */
const REASONS: Partial<Record<ProblemCode, string>> = {
  'namespace-not-enabled': 'NamespaceNotEnabled',
  'role-not-allowed': 'RoleNotAllowed',
  'identity-changed': 'IdentityChanged',
  'sts-denied': 'AssumeRoleDenied',
  'sts-invalid': 'AssumeRoleInvalid',
  'node-unguarded': 'NodeUnguarded',
}

export type PodEvents = {
  /** Reports a refusal. Never throws and never waits. */
  readonly report: (pod: Pick<PodRecord, 'uid' | 'namespace' | 'name'>, problem: Problem) => void
}

type Known = { count: number; sentAt: number; busy: boolean }

/** The count of a refusal that goes on is written this often; the API server keeps Events for an hour. */
const UPDATE_MS = 5 * 60_000
const PER_SECOND = 1
const BURST = 25
const MAX_KNOWN = 1024
/** events.k8s.io: the note's limit. */
const MAX_NOTE = 1024

/** @param onSent told of every try */
export function podEvents(
  by: { readonly kube: Pick<Kube, 'send'>; readonly clock: Clock; readonly log: Logger },
  nodeName: string,
  onSent: (outcome: 'sent' | 'failed' | 'limited') => void,
): PodEvents {
  const { kube, clock, log } = by
  const bucket = tokenBucket(PER_SECOND, BURST, clock)
  const known = new BoundedMap<string, Known>(MAX_KNOWN)

  const remember = (key: string): Known => {
    const entry = known.get(key) ?? { count: 0, sentAt: Number.NEGATIVE_INFINITY, busy: false }
    known.set(key, entry)
    return entry
  }
  const create = (namespace: string, body: unknown) =>
    kube.send('POST', `/apis/events.k8s.io/v1/namespaces/${namespace}/events`, body)
  const update = (namespace: string, name: string, count: number) =>
    kube.send('PATCH', `/apis/events.k8s.io/v1/namespaces/${namespace}/events/${name}`, {
      series: { count, lastObservedTime: microTime(clock.now()) },
    })

  return {
    report: (pod, problem) => {
      const reason = REASONS[problem.code]
      if (reason === undefined) return
      const note = problem.message.slice(0, MAX_NOTE)
      const name = eventName(pod, reason, note)
      const entry = remember(name)
      entry.count++
      if (entry.busy || clock.now() - entry.sentAt < UPDATE_MS) return
      if (!bucket.take()) return onSent('limited')
      entry.busy = true
      const { namespace } = pod
      const body = eventBody({ name, reason, note, nodeName, at: clock.now() }, pod)
      const first = () =>
        create(namespace, body).catch((error) => {
          // A predecessor of this broker wrote it: this is at least the second time, and Kubernetes takes no series of one.
          if (!(error instanceof KubeError && error.status === 409)) throw error
          entry.count = Math.max(entry.count, 2)
          return update(namespace, name, entry.count)
        })
      const again = () =>
        update(namespace, name, entry.count).catch((error) => {
          if (!(error instanceof KubeError && error.status === 404)) throw error
          return create(namespace, body)
        })
      const sent = entry.sentAt === Number.NEGATIVE_INFINITY ? first() : again()
      entry.sentAt = clock.now()
      sent
        .then(() => onSent('sent'))
        .catch((error) => {
          onSent('failed')
          log.debug('an Event could not be written', { event: name, error: messageOf(error) })
        })
        .finally(() => {
          entry.busy = false
        })
    },
  }
}

/** The same refusal has the same name, whichever broker writes it. */
function eventName(
  pod: { readonly uid: string; readonly name: string },
  reason: string,
  note: string,
): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([pod.uid, reason, note]))
    .digest('hex')
  return `${pod.name.slice(0, 230)}.${hash.slice(0, 16)}`
}

function eventBody(
  event: { name: string; reason: string; note: string; nodeName: string; at: number },
  pod: { readonly uid: string; readonly namespace: string; readonly name: string },
) {
  const { namespace, name, uid } = pod
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: event.name, namespace },
    eventTime: microTime(event.at),
    reportingController: 'pod2iam.dev/broker',
    reportingInstance: event.nodeName,
    action: 'IssueCredentials',
    type: 'Warning',
    reason: event.reason,
    note: event.note,
    regarding: { apiVersion: 'v1', kind: 'Pod', namespace, name, uid },
  }
}

/** Kubernetes' MicroTime: six digits of a fraction. */
const microTime = (milliseconds: number) => new Date(milliseconds).toISOString().replace('Z', '000Z')
