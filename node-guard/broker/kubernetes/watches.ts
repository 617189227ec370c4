/** The watches that keep the stores of pods and namespaces up to date. */
import type { Deps } from '../../../common/deps.ts'
import { reflect } from '../../../common/kube/reflector.ts'
import { NAMESPACES_QUERY, type Namespaces } from './namespaces.ts'
import type { Pods } from './pods.ts'

export type ClusterWatches = ReturnType<typeof watchCluster>

/** This node's pods. One that has ended gets nothing, and to a watch that selects by phase it is as good as deleted. */
const podSelector = (nodeName: string) =>
  `spec.nodeName=${nodeName},status.phase!=Succeeded,status.phase!=Failed`

/** Begins to watch, until `signal` aborts. */
export function watchCluster(
  stores: { readonly pods: Pods; readonly namespaces: Namespaces },
  nodeName: string,
  deps: Deps,
) {
  const pods = { query: { fieldSelector: podSelector(nodeName) }, sink: stores.pods.sink }
  const namespaces = { query: NAMESPACES_QUERY, sink: stores.namespaces.sink }
  const watches = {
    pods: reflect({ path: '/api/v1/pods', ...pods, cached: true }, deps),
    namespaces: reflect({ path: '/api/v1/namespaces', ...namespaces, cached: true }, deps),
  }
  const byWatch = (read: (watch: (typeof watches)['pods']) => number) =>
    Object.fromEntries(Object.entries(watches).map(([name, watch]) => [name, read(watch)]))
  return {
    podsSynced: watches.pods.synced,
    /** The first collection whose first list has not arrived; undefined when all have. */
    unsynced: () => Object.entries(watches).find(([, watch]) => !watch.synced())?.[0],
    /** Seconds since the API server last sent something, by watch. */
    ages: () => byWatch((watch) => (deps.clock.now() - watch.contactAt()) / 1000),
    /** Objects too large to be read, by watch. */
    leftOut: () => byWatch((watch) => watch.leftOut()),
  }
}
