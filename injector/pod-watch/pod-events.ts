/**
 * Writes findings as Events on the pod. The name of an Event is derived from the pod and the content, so every replica gives it the
 * same name, and the second one to write it gets 409 and stops.
 */
import { type EventOutcome, eventWriter } from '../../common/kube/events.ts'
import { tokenBuckets } from '../../common/token-bucket.ts'
import type { Finding, WatchedPod } from './pod.ts'

export type PodEvents = ReturnType<typeof podEvents>

/** The API server keeps Events for an hour by default. */
const AGAIN_MS = 61 * 60_000
/** For one namespace, whose pods may have more and more reasons: a fifth, so that it does not silence the others. */
const PER_SECOND_AND_NAMESPACE = 0.2
const BURST_OF_NAMESPACE = 10
const MAX_KNOWN = 4096
const MAX_NAMESPACES = 1024

/**
 * @param instance this replica's name
 * @param onOutcome called after every attempt to write an Event
 */
export function podEvents(
  deps: Parameters<typeof eventWriter>[0],
  instance: string,
  onOutcome: (outcome: EventOutcome) => void,
) {
  const policy = {
    controller: 'pod2iam.dev/injector',
    instance,
    repeatMs: AGAIN_MS,
    isCounted: false,
    maxKnown: MAX_KNOWN,
    admits: tokenBuckets(PER_SECOND_AND_NAMESPACE, BURST_OF_NAMESPACE, deps.clock, MAX_NAMESPACES),
  }
  const write = eventWriter(deps, policy, onOutcome)
  return {
    /** Writes it once, and again when the API server has deleted it. Never throws and never waits. */
    report: (pod: Pick<WatchedPod, 'uid' | 'namespace' | 'name'>, reason: Finding, note: string) =>
      write(pod, { reason, action: reason === 'GateWaiting' ? 'StartPod' : 'InjectSidecar', note }),
  }
}
