/**
 * The watch over the pods of namespaces that opted in: those that ask and have no sidecar (made before the
 * namespace opted in, or past the webhook), and those whose gate or start hook waits too long. Found, told as an Event and
 * counted; nothing depends on it, so the injector serves also while it is away.
 *
 * What is asked for is no more than each of these needs, and nothing stays of a pod but a number where all is well
 * (docs/decisions/0082).
 *
 * Every replica watches. There is no leader to be stuck: an Event has one name whichever replica writes it.
 */
import { GATE_CONTAINER, KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { reflect } from '../../common/kube/reflector.ts'
import { sentence } from '../admission/reasons.ts'
import type { WatchEdges } from '../kubernetes/watch-dependencies.ts'
import { confirmer } from './confirm.ts'
import { optedInNamespaces } from './namespaces.ts'
import { type Finding, finding, type WatchedPod } from './pod.ts'
import type { PodEvents } from './pod-events.ts'
import { watchedPods } from './pods.ts'
import { watchScopes } from './scopes.ts'
import { startedSidecars, startingSidecars } from './sidecars.ts'
import { MOST_VERSIONS } from './tally.ts'
import { inTurns } from './turns.ts'
import { unlabelledPods } from './unlabelled.ts'

export type PodWatch = {
  /** Pods by finding, and sidecars by the release that injected them. */
  readonly counts: () => {
    readonly findings: Record<Finding, number>
    readonly versions: Map<string, number>
  }
  /** Seconds since the API server's last word, by what is watched; undefined before the first. */
  readonly ages: () => Readonly<Record<string, number | undefined>>
  /** How many pods there is no room for. */
  readonly leftOut: () => number
}

const SWEEP_MS = 5000
/** Between two questions to the same sidecar, whose reason may change. */
const ASK_AGAIN_MS = 60_000
/** Sidecars asked at the same time. */
const MOST_ASKED = 32
const NAMESPACES_QUERY = { labelSelector: KEYS.injection }
/** What has ended needs no credentials any more. */
const NOT_ENDED = 'status.phase!=Succeeded,status.phase!=Failed'
const STARTING_QUERY = { labelSelector: `${KEYS.injected}=true`, fieldSelector: 'status.phase=Pending' }
const STARTED_QUERY = {
  labelSelector: `${KEYS.injected}=true`,
  fieldSelector: `status.phase!=Pending,${NOT_ENDED}`,
}
const UNLABELLED_QUERY = { labelSelector: `${KEYS.injected}!=true`, fieldSelector: NOT_ENDED }
/** Of a cluster's pods: 20, as of a node's, would be thousands of requests. */
const PODS_PAGE = 500

/**
 * @param gateCode asks a sidecar at this address why it is not ready; never rejects
 * @param untouched namespaces whose new pods would be without a sidecar again: nobody is told there to delete one
 * @param most pods known one by one, and counted
 */
export function watchPods(
  by: WatchEdges,
  roleKey: string,
  events: PodEvents,
  gateCode: (ip: string) => Promise<string>,
  untouched: ReadonlySet<string> = new Set(),
  most: { readonly known?: number; readonly counted?: number } = {},
): PodWatch {
  const { clock, log, signal } = by
  const askedAt = new Map<string, number>()
  // By namespace, when one of its sidecars was asked last.
  const turnAt = new Map<string, number>()
  let asking = 0
  let wasFull = false
  const onGone = (uid: string) => askedAt.delete(uid)
  const path = '/api/v1/pods'
  const known = watchedPods(roleKey, onGone, most.known)
  const starting = startingSidecars(roleKey, known, most.counted)
  const again = watchedPods(roleKey, onGone, most.known)
  const started = startedSidecars(roleKey, again, most.counted)
  const namespaces = optedInNamespaces(() => {
    unlabelled.forgetOthers()
    scopes.follow(namespaces.names())
  })
  const isOptedIn = (name: string) => namespaces.mode(name) !== undefined
  const unlabelled = unlabelledPods(roleKey, isOptedIn, onGone, most.known)
  const scopes = watchScopes(UNLABELLED_QUERY, unlabelled.sink, by)
  const confirmSome = confirmer(unlabelled, UNLABELLED_QUERY, by)
  const ofPods = [
    reflect({ path, query: STARTING_QUERY, sink: starting.sink, page: PODS_PAGE }, by),
    reflect({ path, query: STARTED_QUERY, sink: started.sink, page: PODS_PAGE, metadataOnly: 'lists' }, by),
  ]
  const ofNamespaces = reflect(
    { path: '/api/v1/namespaces', query: NAMESPACES_QUERY, sink: namespaces.sink },
    by,
  )
  const all = () => [...known.all(), ...again.all(), ...unlabelled.all()]
  const get = (uid: string) => known.get(uid) ?? again.get(uid) ?? unlabelled.get(uid)
  const findingOf = (pod: WatchedPod) => finding(pod, namespaces.mode(pod.namespace), clock.now())
  const found = (wanted: Finding) => all().filter((pod) => findingOf(pod) === wanted)
  const leftOut = () =>
    known.leftOut() +
    again.leftOut() +
    unlabelled.leftOut() +
    starting.tally().leftOut() +
    started.tally().leftOut()

  const tell = (pod: WatchedPod, found: Finding, detail = '') => {
    const missing = untouched.has(pod.namespace) ? 'never-injected' : 'injection-missing'
    const waiting = pod.startsAlone ? 'start-waiting' : 'gate-waiting'
    const reason = found === 'GateWaiting' ? waiting : missing
    events.report(pod, found, sentence(reason, { roleKey, namespace: pod.namespace, detail }))
  }
  const lastAsked = ({ uid }: WatchedPod) => askedAt.get(uid) ?? 0
  const tellWhy = async (pod: WatchedPod) => {
    askedAt.set(pod.uid, clock.now())
    turnAt.set(pod.namespace, clock.now())
    asking++
    const code = pod.startsAlone && pod.ip === '' ? undefined : await gateCode(pod.ip)
    asking--
    const now = get(pod.uid)
    // Gone or started in the meantime: then there is nothing to tell.
    if (now === undefined || findingOf(now) !== 'GateWaiting') return
    tell(now, 'GateWaiting', waitDetail(now, code))
  }
  const tellMissing = () => {
    // What is presumed is counted; nobody is told to delete a pod because of it.
    const missing = found('InjectionMissing').filter((pod) => unlabelled.get(pod.uid)?.isConfirmed !== false)
    for (const pod of inTurns(missing, turnAt)) tell(pod, 'InjectionMissing')
  }
  const askWaiting = () => {
    const due = (pod: WatchedPod) => clock.now() - lastAsked(pod) >= ASK_AGAIN_MS
    const waiting = found('GateWaiting').filter(due)
    waiting.sort((a, b) => lastAsked(a) - lastAsked(b))
    for (const pod of inTurns(waiting, turnAt).slice(0, MOST_ASKED - asking)) void tellWhy(pod)
    for (const name of turnAt.keys()) if (namespaces.mode(name) === undefined) turnAt.delete(name)
  }
  const sayWhatIsLeftOut = () => {
    const pods = leftOut()
    if (pods > 0 && !wasFull)
      log.warn(
        'there are more pods than the watch has room for: some get no Event, or are missing in the count of sidecars by release; injection goes on as ever',
        { pods },
      )
    wasFull = pods > 0
  }
  const sweep = () => {
    if (signal.aborted) return
    if (ofNamespaces.synced()) {
      scopes.catchUp()
      confirmSome()
      tellMissing()
      askWaiting()
      sayWhatIsLeftOut()
    }
    clock.after(SWEEP_MS, sweep)
  }
  clock.after(SWEEP_MS, sweep)

  return {
    counts() {
      const findings = { InjectionMissing: 0, GateWaiting: 0 }
      for (const pod of all()) {
        const found = findingOf(pod)
        if (found !== undefined) findings[found]++
      }
      const versions = new Map<string, number>()
      const count = (version: string, pods: number) => {
        const shown = versions.has(version) || versions.size < MOST_VERSIONS ? version : 'other'
        versions.set(shown, (versions.get(shown) ?? 0) + pods)
      }
      for (const { tally } of [started, starting])
        for (const [version, pods] of tally().counts()) count(version, pods)
      for (const { hasSidecar, version } of unlabelled.all()) if (hasSidecar) count(version, 1)
      return { findings, versions }
    },
    ages: () => ({
      pods: age(Math.min(...ofPods.map(({ contactAt }) => contactAt()), ...scopes.contactAts())),
      namespaces: age(ofNamespaces.contactAt()),
    }),
    leftOut,
  }

  function age(contactAt: number): number | undefined {
    return contactAt === 0 ? undefined : (clock.now() - contactAt) / 1000
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
