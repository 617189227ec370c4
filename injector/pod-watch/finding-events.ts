/** Writes findings as Events on the pods; the sidecar of a waiting pod is first asked for its reason. */
import type { Clock } from '../../common/clock.ts'
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { sentence } from '../reasons.ts'
import type { KnownPods } from './known-pods.ts'
import type { Finding, WatchedPod } from './pod.ts'
import type { PodEvents } from './pod-events.ts'
import { roundRobin } from './round-robin.ts'

/** Between two requests to the same sidecar, whose reason may change. */
const ASK_AGAIN_MS = 60_000
/** Sidecars asked at the same time. */
const MAX_ASKED = 32

/**
 * @param deps `askedAt`: when each sidecar was asked, by the pod's uid; pods that are gone are removed from it.
 *   `readyzCode` asks a sidecar at this address why it is not ready and never rejects
 */
export function findingEvents(deps: {
  readonly pods: KnownPods
  readonly findingOf: (pod: WatchedPod) => Finding | undefined
  readonly isOptedIn: (namespace: string) => boolean
  readonly askedAt: Map<string, number>
  readonly events: PodEvents
  readonly readyzCode: (ip: string) => Promise<string>
  readonly clock: Clock
  readonly roleKey: string
  readonly untouched: ReadonlySet<string>
}) {
  const { pods, findingOf, askedAt, events, readyzCode, clock, roleKey, untouched } = deps
  // By namespace, when one of its sidecars was last asked.
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
    const code = pod.startsAlone && pod.ip === '' ? undefined : await readyzCode(pod.ip)
    asking--
    const now = pods.get(pod.uid)
    // Nothing to report where it has gone or started in the meantime.
    if (now === undefined || findingOf(now) !== 'GateWaiting') return
    report(now, 'GateWaiting', waitDetail(now, code))
  }
  return {
    /** Reports all pods that lack their sidecar. */
    reportMissing() {
      // A presumption is counted, but no Event advises to delete a pod because of it.
      const missing = found('InjectionMissing').filter(
        (pod) => pods.unlabelled.get(pod.uid)?.isConfirmed !== false,
      )
      for (const pod of roundRobin(missing, turnAt)) report(pod, 'InjectionMissing')
    },
    /** Asks the sidecars of some waiting pods, and reports each pod when its sidecar has answered. */
    askWaiting() {
      const due = (pod: WatchedPod) => clock.now() - lastAsked(pod) >= ASK_AGAIN_MS
      const waiting = found('GateWaiting').filter(due)
      waiting.sort((a, b) => lastAsked(a) - lastAsked(b))
      for (const pod of roundRobin(waiting, turnAt).slice(0, MAX_ASKED - asking)) void ask(pod)
      for (const name of turnAt.keys()) if (!deps.isOptedIn(name)) turnAt.delete(name)
    },
  }
}

/** @param code the sidecar's own reason; undefined while its address is not known */
function waitDetail({ name, namespace, startsAlone }: WatchedPod, code: string | undefined): string {
  const logs = `kubectl logs ${name} -n ${namespace} -c`
  if (!startsAlone) return `the sidecar says ${explained(code ?? '')}: ${logs} ${GATE_CONTAINER}`
  const why =
    code === undefined
      ? "the kubelet has not reported the pod's address: it is mounting volumes or pulling an image (see the pod's other Events), " +
        'or the sidecar is waiting for credentials or for the block'
      : `the sidecar says ${explainedAlone(code)}`
  // The kubelet serves no log of a container that, as far as it knows, does not run yet.
  return `${why}; ${logs} ${SIDECAR_CONTAINER} shows its log when this attempt is over, or that of the attempt before with --previous`
}

/** With these codes the sidecar waits for nothing (mode env) or for the gate itself (nft): only the gate's proof is missing. */
function explained(code: string): string {
  return code === 'ready' || code === 'self-test-pending'
    ? `${code}, so the gate has not seen the metadata endpoint refused on this node; look at the node guard there`
    : code
}

/** The same where the sidecar has to prove the block itself. */
function explainedAlone(code: string): string {
  return code === 'block-pending'
    ? `${code}, so it has not seen the metadata endpoint refused on this node; look at the node guard there`
    : code
}
