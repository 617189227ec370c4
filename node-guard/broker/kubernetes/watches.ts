/** The Kubernetes half of the broker: this node's pods, the namespaces that opted in, the token signing keys. */

import { reflect } from '../../../common/kube/reflector.ts'
import { signingKeys } from '../authenticate/keys.ts'
import { tokenVerifier, type VerifyToken } from '../authenticate/verify.ts'
import type { BrokerEdges } from '../broker.ts'
import type { BrokerSettings } from '../settings.ts'
import { type LiveReader, liveReader } from './live.ts'
import { NAMESPACES_QUERY, type Namespaces, namespaceStore } from './namespaces.ts'
import { type PodRecord, podRecord } from './pod.ts'
import { type Pods, podStore } from './pods.ts'

export type ClusterSide = {
  readonly pods: Pods
  readonly namespaces: Namespaces
  readonly live: LiveReader
  readonly verify: VerifyToken
  /** A code and a sentence while something has not arrived, or undefined. */
  readonly whyNotReady: () => { readonly code: string; readonly detail: string } | undefined
  /** Seconds since the API server's last word, by watch. */
  readonly watchAges: () => Readonly<Record<string, number>>
  /** Objects too large to be read, by watch. */
  readonly leftOut: () => Readonly<Record<string, number>>
}

/** This node's pods. One that has ended gets nothing, and to a watch that selects by phase it is as good as deleted. */
const podSelector = (nodeName: string) =>
  `spec.nodeName=${nodeName},status.phase!=Succeeded,status.phase!=Failed`

/** @param on told of what changes; what was decided before must then be judged again */
export function clusterSide(
  settings: BrokerSettings,
  { kube, clock, log, verifier = tokenVerifier }: BrokerEdges,
  on: {
    readonly podGone: (uid: string) => void
    readonly podChanged: (pod: PodRecord) => void
    readonly namespaceChanged: (name: string) => void
    readonly signal: AbortSignal
  },
): ClusterSide {
  const by = { kube, clock, log, signal: on.signal }
  const project = (object: unknown) => podRecord(object, settings.roleKey)
  const pods = podStore(project, { gone: on.podGone, change: on.podChanged })
  const namespaces = namespaceStore(on.namespaceChanged, clock)
  const query = { fieldSelector: podSelector(settings.nodeName) }
  const watches = {
    pods: reflect({ path: '/api/v1/pods', query, sink: pods.sink, cached: true }, by),
    namespaces: reflect(
      { path: '/api/v1/namespaces', query: NAMESPACES_QUERY, sink: namespaces.sink, cached: true },
      by,
    ),
  }
  const keys = signingKeys(by, settings.issuer)
  on.signal.addEventListener('abort', keys.stop)

  return {
    pods,
    namespaces,
    live: liveReader(kube, clock),
    verify: verifier(keys, settings.audience, clock),
    whyNotReady: () => {
      if (!keys.current())
        return { code: 'keys-unknown', detail: 'the API server’s token signing keys are not known' }
      const unsynced = Object.entries(watches).find(([, watch]) => !watch.synced())?.[0]
      return unsynced
        ? { code: 'watch-not-synced', detail: `the first list of ${unsynced} has not arrived` }
        : undefined
    },
    watchAges: () =>
      Object.fromEntries(
        Object.entries(watches).map(([name, watch]) => [name, (clock.now() - watch.contactAt()) / 1000]),
      ),
    leftOut: () =>
      Object.fromEntries(Object.entries(watches).map(([name, watch]) => [name, watch.leftOut()])),
  }
}
