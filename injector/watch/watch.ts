/**
 * The watch over the pods of namespaces that opted in: those that ask and have no sidecar (made before the
 * namespace opted in, or past the webhook), and those whose gate waits too long. Found, told as an Event and
 * counted; nothing depends on it, so the injector serves also while it is away.
 *
 * Every replica watches. There is no leader to be stuck: an Event has one name whichever replica writes it.
 */
import type { Clock } from '../../common/clock.ts'
import { GATE_CONTAINER, type InjectionMode, injectionMode, KEYS } from '../../common/keys.ts'
import type { Kube } from '../../common/kube/client.ts'
import { reflect, type Sink } from '../../common/kube/reflector.ts'
import type { Logger } from '../../common/log.ts'
import { isObject } from '../json.ts'
import { sentence } from '../reasons.ts'
import { type Finding, finding, type WatchedPod } from './pod.ts'
import type { PodEvents } from './pod-events.ts'
import { watchedPods } from './pods.ts'
import { inTurns } from './turns.ts'

export type PodWatch = {
  /** Pods by finding, and sidecars by the release that injected them. */
  readonly counts: () => {
    readonly findings: Record<Finding, number>
    readonly versions: Map<string, number>
  }
  /** Seconds since the API server's last word, by what is watched; undefined before the first. */
  readonly ages: () => Readonly<Record<string, number | undefined>>
  readonly leftOut: () => number
}

const SWEEP_MS = 5000
/** Between two questions to the same sidecar, whose reason may change. */
const ASK_AGAIN_MS = 60_000
/** Sidecars asked at the same time. */
const MOST_ASKED = 32
/** What has ended needs no credentials any more. */
const PODS_QUERY = { fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed' }
/** Of a cluster's pods: 20, as of a node's, would be thousands of requests. */
const PODS_PAGE = 500
const NAMESPACES_QUERY = { labelSelector: KEYS.injection }
/** Versions told apart in the metric. */
const MOST_VERSIONS = 20

/**
 * @param gateCode asks a sidecar at this address why it is not ready; never rejects
 * @param untouched namespaces whose new pods would be without a sidecar again: nobody is told there to delete one
 */
export function watchPods(
  by: {
    readonly kube: Pick<Kube, 'get' | 'stream'>
    readonly clock: Clock
    readonly log: Logger
    readonly signal: AbortSignal
  },
  roleKey: string,
  events: PodEvents,
  gateCode: (ip: string) => Promise<string>,
  untouched: ReadonlySet<string> = new Set(),
): PodWatch {
  const { clock, signal } = by
  const askedAt = new Map<string, number>()
  // By namespace, when one of its sidecars was asked last.
  const turnAt = new Map<string, number>()
  let asking = 0
  const pods = watchedPods(roleKey, (uid) => askedAt.delete(uid))
  const namespaces = optedIn()
  const watches = {
    pods: reflect({ path: '/api/v1/pods', query: PODS_QUERY, sink: pods.sink, page: PODS_PAGE }, by),
    namespaces: reflect({ path: '/api/v1/namespaces', query: NAMESPACES_QUERY, sink: namespaces.sink }, by),
  }
  const findingOf = (pod: WatchedPod) => finding(pod, namespaces.mode(pod.namespace), clock.now())

  const tell = (pod: WatchedPod, found: Finding, detail = '') => {
    const missing = untouched.has(pod.namespace) ? 'never-injected' : 'injection-missing'
    const reason = found === 'GateWaiting' ? 'gate-waiting' : missing
    events.report(pod, found, sentence(reason, { roleKey, namespace: pod.namespace, detail }))
  }
  const lastAsked = ({ uid }: WatchedPod) => askedAt.get(uid) ?? 0
  const tellWhy = async (pod: WatchedPod) => {
    askedAt.set(pod.uid, clock.now())
    turnAt.set(pod.namespace, clock.now())
    asking++
    const code = await gateCode(pod.ip)
    asking--
    const now = pods.get(pod.uid)
    // Gone or started in the meantime: then there is nothing to tell.
    if (now === undefined || findingOf(now) !== 'GateWaiting') return
    tell(
      now,
      'GateWaiting',
      `${explained(code)}: kubectl logs ${pod.name} -n ${pod.namespace} -c ${GATE_CONTAINER}`,
    )
  }
  const tellMissing = () => {
    const missing = [...pods.all()].filter((pod) => findingOf(pod) === 'InjectionMissing')
    for (const pod of inTurns(missing, turnAt)) tell(pod, 'InjectionMissing')
  }
  const askWaiting = () => {
    const due = (pod: WatchedPod) => clock.now() - lastAsked(pod) >= ASK_AGAIN_MS
    const waiting = [...pods.all()].filter((pod) => findingOf(pod) === 'GateWaiting' && due(pod))
    waiting.sort((a, b) => lastAsked(a) - lastAsked(b))
    for (const pod of inTurns(waiting, turnAt).slice(0, MOST_ASKED - asking)) void tellWhy(pod)
    for (const name of turnAt.keys()) if (namespaces.mode(name) === undefined) turnAt.delete(name)
  }
  const sweep = () => {
    if (signal.aborted) return
    if (watches.namespaces.synced()) {
      tellMissing()
      askWaiting()
    }
    clock.after(SWEEP_MS, sweep)
  }
  clock.after(SWEEP_MS, sweep)

  return {
    counts() {
      const findings = { InjectionMissing: 0, GateWaiting: 0 }
      const versions = new Map<string, number>()
      for (const pod of pods.all()) {
        const found = findingOf(pod)
        if (found !== undefined) findings[found]++
        if (!pod.hasSidecar) continue
        const version = versions.has(pod.version) || versions.size < MOST_VERSIONS ? pod.version : 'other'
        versions.set(version, (versions.get(version) ?? 0) + 1)
      }
      return { findings, versions }
    },
    ages: () =>
      Object.fromEntries(
        Object.entries(watches).map(([name, watch]) => [
          name,
          watch.contactAt() === 0 ? undefined : (clock.now() - watch.contactAt()) / 1000,
        ]),
      ),
    leftOut: pods.leftOut,
  }
}

/** With these the sidecar waits for nothing (redirect mode env) or for the gate itself (nft): it is the proof that lacks. */
function explained(code: string): string {
  return code === 'ready' || code === 'self-test-pending'
    ? `${code}, so the gate has not seen the metadata endpoint refused on this node; look at the node guard there`
    : code
}

type OptedIn = { readonly name: string; readonly mode: InjectionMode | undefined }

/** Which namespaces are opted in, and how. */
function optedIn() {
  const modes = new Map<string, InjectionMode>()
  const upsert = ({ name, mode }: OptedIn) => {
    if (mode === undefined) modes.delete(name)
    else modes.set(name, mode)
  }
  const sink: Sink<OptedIn> = {
    project(object) {
      const metadata = isObject(object) && isObject(object.metadata) ? object.metadata : {}
      const labels = isObject(metadata.labels) ? (metadata.labels as Record<string, string>) : {}
      return typeof metadata.name === 'string'
        ? { name: metadata.name, mode: injectionMode(labels) }
        : undefined
    },
    replace(all) {
      modes.clear()
      for (const one of all) upsert(one)
    },
    upsert,
    remove: ({ name }) => modes.delete(name),
  }
  return { sink, mode: (name: string) => modes.get(name) }
}
