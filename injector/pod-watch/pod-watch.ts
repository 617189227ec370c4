/**
 * The watch over the pods of opted-in namespaces. It finds pods that ask for a role and have no sidecar (created before the namespace
 * opted in, or without the webhook), and pods whose gate or start hook waits too long; it writes Events about them and counts them.
 * Nothing depends on it, so the injector also serves while the watch fails.
 *
 * It requests only what is needed for this, and of a pod without a finding it keeps only a number (docs/decisions/0082).
 *
 * Every replica watches, without a leader that could be stuck: an Event has the same name whichever replica writes it.
 */

import { every } from '../../common/clock.ts'
import type { Deps } from '../../common/deps.ts'
import { KEYS } from '../../common/keys.ts'
import { type Reflection, reflect } from '../../common/kube/reflector.ts'
import type { Logger } from '../../common/log.ts'
import { confirmer } from './confirm.ts'
import { findingEvents } from './finding-events.ts'
import { type KnownPods, knownPods } from './known-pods.ts'
import { optedInNamespaces } from './namespaces.ts'
import { type Finding, finding, type WatchedPod } from './pod.ts'
import type { PodEvents } from './pod-events.ts'
import { watchScopes } from './scopes.ts'

export type PodWatch = ReturnType<typeof watchPods>

const SWEEP_MS = 5000
const NAMESPACES_QUERY = { labelSelector: KEYS.injection }
/** A pod that has ended needs no credentials. */
const NOT_ENDED = 'status.phase!=Succeeded,status.phase!=Failed'
const STARTING_QUERY = { labelSelector: `${KEYS.injected}=true`, fieldSelector: 'status.phase=Pending' }
const STARTED_QUERY = {
  labelSelector: `${KEYS.injected}=true`,
  fieldSelector: `status.phase!=Pending,${NOT_ENDED}`,
}
const UNLABELLED_QUERY = { labelSelector: `${KEYS.injected}!=true`, fieldSelector: NOT_ENDED }
/** Pods in one page of a list: with 20, as for the pods of a node, a cluster would need thousands of requests. */
const PODS_PAGE = 500

/**
 * @param readyzCode asks a sidecar at this address why it is not ready; never rejects
 * @param untouched namespaces whose new pods would again get no sidecar, so no Event there advises to delete one
 * @param max pods known one by one, and counted
 */
export function watchPods(
  deps: Deps<'get' | 'stream'>,
  roleKey: string,
  events: PodEvents,
  readyzCode: (ip: string) => Promise<string>,
  untouched: ReadonlySet<string> = new Set(),
  max: { readonly known?: number; readonly counted?: number } = {},
) {
  const { clock, log, signal } = deps
  const namespaces = optedInNamespaces()
  const isOptedIn = (name: string) => namespaces.mode(name) !== undefined
  // By the pod's uid, when its sidecar was last asked why it waits.
  const askedAt = new Map<string, number>()
  const pods = knownPods(roleKey, isOptedIn, (uid) => askedAt.delete(uid), max)
  const scopes = watchScopes(UNLABELLED_QUERY, pods.unlabelled.sink, deps)
  const confirmSome = confirmer(pods.unlabelled, UNLABELLED_QUERY, deps)
  const findingOf = (pod: WatchedPod) => finding(pod, namespaces.mode(pod.namespace), clock.now())
  const found = findingEvents({
    pods,
    findingOf,
    isOptedIn,
    askedAt,
    events,
    readyzCode,
    clock,
    roleKey,
    untouched,
  })
  namespaces.onChange(() => {
    pods.unlabelled.forgetOthers()
    scopes.follow(namespaces.names())
  })

  const ofPods = watchInjected(pods, deps)
  const ofNamespaces = reflect(
    { path: '/api/v1/namespaces', query: NAMESPACES_QUERY, sink: namespaces.sink },
    deps,
  )
  const warnIfFull = fullnessWarner(log)
  every(clock, SWEEP_MS, signal, () => {
    if (!ofNamespaces.synced()) return
    scopes.catchUp()
    confirmSome()
    found.reportMissing()
    found.askWaiting()
    warnIfFull(pods.leftOut())
  })

  const age = (contactAt: number) => (contactAt === 0 ? undefined : (clock.now() - contactAt) / 1000)
  return {
    /** Pods by finding, and sidecars by the release that injected them. */
    counts: () => ({ findings: findingCounts(pods, findingOf), versions: pods.versions() }),
    /** Seconds since the API server last sent something, by what is watched; undefined before the first time. */
    ages: () => ({
      pods: age(Math.min(...ofPods.map(({ contactAt }) => contactAt()), ...scopes.contactAts())),
      namespaces: age(ofNamespaces.contactAt()),
    }),
    /** Number of pods for which there is no room. */
    leftOut: pods.leftOut,
  }
}

function watchInjected(pods: KnownPods, deps: Deps<'get' | 'stream'>): readonly Reflection[] {
  const all = { path: '/api/v1/pods', page: PODS_PAGE }
  return [
    reflect({ ...all, query: STARTING_QUERY, sink: pods.starting }, deps),
    reflect({ ...all, query: STARTED_QUERY, sink: pods.started, metadataOnly: 'lists' }, deps),
  ]
}

function findingCounts(pods: KnownPods, findingOf: (pod: WatchedPod) => Finding | undefined) {
  const counts = { InjectionMissing: 0, GateWaiting: 0 }
  for (const pod of pods.all()) {
    const found = findingOf(pod)
    if (found !== undefined) counts[found]++
  }
  return counts
}

/** Warns once whenever there is no room for all pods. */
function fullnessWarner(log: Pick<Logger, 'warn'>) {
  let wasFull = false
  return (leftOut: number) => {
    if (leftOut > 0 && !wasFull)
      log.warn(
        'there are more pods than the watch has room for: some get no Event, or are missing in the count of sidecars by release; injection is not affected',
        { pods: leftOut },
      )
    wasFull = leftOut > 0
  }
}
