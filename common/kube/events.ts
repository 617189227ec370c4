/**
 * Warnings about pods as Kubernetes Events, so that `kubectl describe pod` shows what its owner must change. They are limited to a few per second,
 * no matter what pods do. The name of an Event is derived from the pod and the content, so that every replica and every
 * successor of this process gives the same warning the same name.
 */

import { createHash } from 'node:crypto'
import { BoundedMap } from '../bounded-map.ts'
import type { Deps } from '../deps.ts'
import { messageOf } from '../errors.ts'
import { tokenBucket } from '../token-bucket.ts'
import { KubeError } from './client.ts'

export type EventPod = { readonly uid: string; readonly namespace: string; readonly name: string }
type PodWarning = { readonly reason: string; readonly action: string; readonly note: string }

export type EventOutcome = 'sent' | 'there-already' | 'limited' | 'failed'

type EventPolicy = {
  /** `reportingController`, which is the same for all replicas, and `reportingInstance`. */
  readonly controller: string
  readonly instance: string
  /** The same warning is written again after this long, milliseconds. */
  readonly repeatMs: number
  /** Whether the count of an existing Event is increased, which needs permission to patch Events; otherwise the Event is left unchanged. */
  readonly isCounted: boolean
  /** Number of warnings that are remembered. */
  readonly maxKnown: number
  /** Whether a namespace may have one more Event now. */
  readonly admits?: (namespace: string) => boolean
}

type Known = { count: number; sentAt: number }

const PER_SECOND = 1
const BURST = 25
/** events.k8s.io: the note's limit. */
const MAX_NOTE = 1024

/**
 * @param onOutcome called after every attempt
 * @returns a function that writes a warning; it never throws and never waits
 */
export function eventWriter(
  { kube, clock, log }: Omit<Deps<'send'>, 'signal'>,
  policy: EventPolicy,
  onOutcome: (outcome: EventOutcome) => void,
) {
  const { repeatMs, isCounted, admits = () => true } = policy
  const bucket = tokenBucket(PER_SECOND, BURST, clock)
  const known = new BoundedMap<string, Known>(policy.maxKnown)

  const send = async (event: ReturnType<typeof eventOf>, entry: Known): Promise<EventOutcome> => {
    const path = `/apis/events.k8s.io/v1/namespaces/${event.metadata.namespace}/events`
    const create = () => kube.send('POST', path, event)
    const countUp = () =>
      kube.send('PATCH', `${path}/${event.metadata.name}`, {
        series: { count: entry.count, lastObservedTime: microTime(clock.now()) },
      })
    const wasSent = entry.sentAt !== Number.NEGATIVE_INFINITY
    entry.sentAt = clock.now()
    try {
      await (wasSent && isCounted ? countUp() : create())
    } catch (error) {
      const status = error instanceof KubeError ? error.status : undefined
      if (status === 409 && !isCounted) return 'there-already'
      if (status === 409) {
        // A predecessor wrote it: this is at least the second time, and Kubernetes takes no series of one.
        entry.count = Math.max(entry.count, 2)
        await countUp()
      } else if (status === 404 && wasSent && isCounted) await create()
      else throw error
    }
    return 'sent'
  }

  return (pod: EventPod, warning: PodWarning) => {
    const event = eventOf(pod, { ...warning, note: warning.note.slice(0, MAX_NOTE) }, policy, clock.now())
    const { name } = event.metadata
    const entry = known.get(name) ?? { count: 0, sentAt: Number.NEGATIVE_INFINITY }
    entry.count++
    if (clock.now() - entry.sentAt < repeatMs) return
    if (!admits(pod.namespace) || !bucket.take()) return onOutcome('limited')
    known.set(name, entry)
    send(event, entry)
      .then(onOutcome)
      .catch((error) => {
        if (!isCounted) known.delete(name)
        onOutcome('failed')
        log.debug('an Event could not be written', { event: name, error: messageOf(error) })
      })
  }
}

function eventOf(
  { uid, namespace, name }: EventPod,
  { reason, action, note }: PodWarning,
  { controller, instance }: EventPolicy,
  now: number,
) {
  const hash = createHash('sha256')
    .update(JSON.stringify([uid, reason, note]))
    .digest('hex')
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: `${name.slice(0, 230)}.${hash.slice(0, 16)}`, namespace },
    eventTime: microTime(now),
    reportingController: controller,
    reportingInstance: instance,
    action,
    type: 'Warning',
    reason,
    note,
    regarding: { apiVersion: 'v1', kind: 'Pod', namespace, name, uid },
  }
}

/** Kubernetes' MicroTime: six digits of a fraction. */
const microTime = (milliseconds: number) => new Date(milliseconds).toISOString().replace('Z', '000Z')
