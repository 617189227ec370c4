/**
 * Findings as Events on the pod. The name of an Event is made of what it says about which pod, so that every replica
 * gives it the same: who comes second is answered 409 and leaves it at that.
 */
import { createHash } from 'node:crypto'
import { BoundedMap } from '../../common/bounded-map.ts'
import type { Clock } from '../../common/clock.ts'
import { messageOf } from '../../common/errors.ts'
import { type Kube, KubeError } from '../../common/kube/client.ts'
import type { Logger } from '../../common/log.ts'
import { tokenBucket } from '../../common/token-bucket.ts'
import type { Finding, WatchedPod } from './pod.ts'

export type EventOutcome = 'sent' | 'there-already' | 'limited' | 'failed'

export type PodEvents = {
  /** Says it once, and again when the API server has forgotten it. Never throws and never waits. */
  readonly report: (
    pod: Pick<WatchedPod, 'uid' | 'namespace' | 'name'>,
    reason: Finding,
    note: string,
  ) => void
}

/** The API server keeps Events for an hour unless told otherwise. */
const AGAIN_MS = 61 * 60_000
const PER_SECOND = 1
const BURST = 25
/** Of one namespace, whose pods may have ever new reasons: a fifth, so that it does not silence the others. */
const PER_SECOND_AND_NAMESPACE = 0.2
const BURST_OF_NAMESPACE = 10
const MAX_KNOWN = 4096
const MAX_NAMESPACES = 1024
/** events.k8s.io: the note's limit. */
const MAX_NOTE = 1024

/**
 * @param instance this replica's name
 * @param onOutcome told of every try
 */
export function podEvents(
  by: { readonly kube: Pick<Kube, 'send'>; readonly clock: Clock; readonly log: Logger },
  instance: string,
  onOutcome: (outcome: EventOutcome) => void,
): PodEvents {
  const { kube, clock, log } = by
  const bucket = tokenBucket(PER_SECOND, BURST, clock)
  const ofNamespace = new BoundedMap<string, ReturnType<typeof tokenBucket>>(MAX_NAMESPACES)
  const mayNamespace = (name: string) => {
    const own = ofNamespace.get(name) ?? tokenBucket(PER_SECOND_AND_NAMESPACE, BURST_OF_NAMESPACE, clock)
    ofNamespace.set(name, own)
    return own.take()
  }
  const saidAt = new BoundedMap<string, number>(MAX_KNOWN)
  return {
    report(pod, reason, text) {
      const note = text.slice(0, MAX_NOTE)
      const name = eventName(pod, reason, note)
      if (clock.now() - (saidAt.get(name) ?? Number.NEGATIVE_INFINITY) < AGAIN_MS) return
      if (!mayNamespace(pod.namespace) || !bucket.take()) return onOutcome('limited')
      saidAt.set(name, clock.now())
      const event = eventBody(pod, { name, reason, note, instance, at: clock.now() })
      kube
        .send('POST', `/apis/events.k8s.io/v1/namespaces/${pod.namespace}/events`, event)
        .then(() => onOutcome('sent'))
        .catch((error) => {
          if (error instanceof KubeError && error.status === 409) return onOutcome('there-already')
          saidAt.delete(name)
          onOutcome('failed')
          log.debug('an Event could not be written', { event: name, error: messageOf(error) })
        })
    },
  }
}

function eventName(pod: { readonly uid: string; readonly name: string }, reason: string, note: string) {
  const hash = createHash('sha256')
    .update(JSON.stringify([pod.uid, reason, note]))
    .digest('hex')
  return `${pod.name.slice(0, 230)}.${hash.slice(0, 16)}`
}

function eventBody(
  { uid, namespace, name }: Pick<WatchedPod, 'uid' | 'namespace' | 'name'>,
  event: { name: string; reason: Finding; note: string; instance: string; at: number },
) {
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: event.name, namespace },
    // Kubernetes' MicroTime: six digits of a fraction.
    eventTime: new Date(event.at).toISOString().replace('Z', '000Z'),
    reportingController: 'pod2iam.dev/injector',
    reportingInstance: event.instance,
    action: event.reason === 'GateWaiting' ? 'StartPod' : 'InjectSidecar',
    type: 'Warning',
    reason: event.reason,
    note: event.note,
    regarding: { apiVersion: 'v1', kind: 'Pod', namespace, name, uid },
  }
}
