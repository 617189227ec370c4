/** Writes what was found about pods as Events on them; of one that waits, its sidecar is asked first why. */
import type { Clock } from '../../common/clock.ts'
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { sentence } from '../admission/reasons.ts'
import type { KnownPods } from './known-pods.ts'
import type { Finding, WatchedPod } from './pod.ts'
import type { PodEvents } from './pod-events.ts'
import { inTurns } from './turns.ts'

/** Between two questions to the same sidecar, whose reason may change. */
const ASK_AGAIN_MS = 60_000
/** Sidecars asked at the same time. */
const MAX_ASKED = 32

/**
 * @param deps `askedAt`: when each sidecar was asked, by the pod's uid; pods that are gone are removed from it.
 *   `gateCode` asks a sidecar at this address why it is not ready and never rejects
 */
export function findingEvents(deps: {
  readonly pods: KnownPods
  readonly findingOf: (pod: WatchedPod) => Finding | undefined
  readonly isOptedIn: (namespace: string) => boolean
  readonly askedAt: Map<string, number>
  readonly events: PodEvents
  readonly gateCode: (ip: string) => Promise<string>
  readonly clock: Clock
  readonly roleKey: string
  readonly untouched: ReadonlySet<string>
}) {
  const { pods, findingOf, askedAt, events, gateCode, clock, roleKey, untouched } = deps
  // By namespace, when one of its sidecars was asked last.
  const turnAt = new Map<string, number>()
  let asking = 0
  const found = (wanted: Finding) => pods.all().filter((pod) => findingOf(pod) === wanted)
  const report = (pod: WatchedPod, found: Finding, detail = '') => {
    const missing = untouched.has(pod.namespace) ? 'never-injected' : 'injection-missing'
    const waiting = pod.startsAlone ? 'start-waiting' : 'gate-waiting'
    const reason = found === 'GateWaiting' ? waiting : missing
    events.report(pod, found, sentence(reason, { roleKey, namespace: pod.namespace, detail }))
  }
  const lastAsked = ({ uid }: WatchedPod) => askedAt.get(uid) ?? 0
  const ask = async (pod: WatchedPod) => {
    askedAt.set(pod.uid, clock.now())
    turnAt.set(pod.namespace, clock.now())
    asking++
    const code = pod.startsAlone && pod.ip === '' ? undefined : await gateCode(pod.ip)
    asking--
    const now = pods.get(pod.uid)
    // Gone or started in the meantime: then there is nothing to report.
    if (now === undefined || findingOf(now) !== 'GateWaiting') return
    report(now, 'GateWaiting', waitDetail(now, code))
  }
  return {
    /** About all pods that lack their sidecar. */
    reportMissing() {
      // What is presumed is counted; nobody is told to delete a pod because of it.
      const missing = found('InjectionMissing').filter(
        (pod) => pods.unlabelled.get(pod.uid)?.isConfirmed !== false,
      )
      for (const pod of inTurns(missing, turnAt)) report(pod, 'InjectionMissing')
    },
    /** About some of those that wait, each when its sidecar has answered. */
    askWaiting() {
      const due = (pod: WatchedPod) => clock.now() - lastAsked(pod) >= ASK_AGAIN_MS
      const waiting = found('GateWaiting').filter(due)
      waiting.sort((a, b) => lastAsked(a) - lastAsked(b))
      for (const pod of inTurns(waiting, turnAt).slice(0, MAX_ASKED - asking)) void ask(pod)
      for (const name of turnAt.keys()) if (!deps.isOptedIn(name)) turnAt.delete(name)
    },
  }
}

/** @param code what the sidecar says of itself; undefined where nobody knows its address yet */
function waitDetail({ name, namespace, startsAlone }: WatchedPod, code: string | undefined): string {
  const logs = `kubectl logs ${name} -n ${namespace} -c`
  if (!startsAlone) return `the sidecar says ${explained(code ?? '')}: ${logs} ${GATE_CONTAINER}`
  const why =
    code === undefined
      ? "the kubelet has not told the pod's address: it mounts volumes or pulls an image (see the pod's other Events), or the sidecar " +
        'waits for credentials or for the block'
      : `the sidecar says ${explainedAlone(code)}`
  // The kubelet gives no log of a container that it has not told to run.
  return `${why}; ${logs} ${SIDECAR_CONTAINER} answers when this attempt is over, of one before it with --previous`
}

/** With these the sidecar waits for nothing (redirect mode env) or for the gate itself (nft): it is the proof that lacks. */
function explained(code: string): string {
  return code === 'ready' || code === 'self-test-pending'
    ? `${code}, so the gate has not seen the metadata endpoint refused on this node; look at the node guard there`
    : code
}

/** Where it has to see that itself. */
function explainedAlone(code: string): string {
  return code === 'block-pending'
    ? `${code}, so it has not seen the metadata endpoint refused on this node; look at the node guard there`
    : code
}
