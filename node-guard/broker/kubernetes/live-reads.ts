/** Live reads of pods and namespaces, whose results are cached, but never longer than until the watch reports something newer. */
import { BoundedMap } from '../../../common/bounded-map.ts'
import type { Clock } from '../../../common/clock.ts'
import type { LimitedReader } from './limited-reader.ts'
import { type NamespaceRecord, type Namespaces, namespaceRecord } from './namespaces.ts'
import { hasEnded, type PodRecord, podRecord } from './pod.ts'
import type { Pods } from './pods.ts'
import { consistentRead } from './revisions.ts'

/** So that a token of a pod that is not on this node does not cost a read each time. */
const MISS_MS = 30_000
const MAX_MISSES = 1024

/** The names of a pod in a token. */
type NamedPod = { readonly namespace: string; readonly podName: string; readonly podUid: string }

export type LiveReads = ReturnType<typeof liveReads>

export function liveReads(deps: {
  readonly pods: Pods
  readonly namespaces: Namespaces
  readonly live: LimitedReader
  readonly clock: Clock
  readonly nodeName: string
  readonly roleKey: string
}) {
  const { pods, namespaces, live, clock, nodeName, roleKey } = deps
  /** Reads that did not find a running pod of this node, by the requested uid. */
  const misses = new BoundedMap<string, { readonly pod: PodRecord | undefined; readonly at: number }>(
    MAX_MISSES,
  )
  const miss = (uid: string, pod: PodRecord | undefined) => misses.set(uid, { pod, at: clock.now() })

  /** The pod of a token as it is now; undefined when it is gone or another has its name. @throws {Problem} `busy` */
  const pod = async ({ namespace, podName, podUid }: NamedPod): Promise<PodRecord | undefined> => {
    if (pods.isGone(podUid)) return undefined
    const missed = misses.get(podUid)
    if (missed && Math.abs(clock.now() - missed.at) < MISS_MS) return missed.pod
    const path = `/api/v1/namespaces/${namespace}/pods/${podName}`
    const { found, revision } = await consistentRead(
      () => pods.revision(podUid),
      async (revision) => ({
        found: podRecord(await live.read(path, `${podUid} ${revision}`, namespace), roleKey),
        revision,
      }),
      () => {
        const watched = pods.get(podUid)
        return watched || pods.isGone(podUid)
          ? { found: watched, revision: pods.revision(podUid) }
          : undefined
      },
    )
    if (found?.uid !== podUid) {
      miss(podUid, undefined)
      pods.forget(podUid)
      return undefined
    }
    // The watch would never report that a pod which has ended is gone.
    if (found.nodeName === nodeName && !hasEnded(found)) pods.learn(found, revision)
    // A pod never changes its node, and one that has ended stays ended.
    else if (found.nodeName !== '') miss(podUid, found)
    return found
  }

  /**
   * A namespace as it is now: its label may be newer than what the watch last reported, or gone since it was read. Undefined where there
   * is none. @throws {Problem} `busy`
   */
  const namespace = async (name: string): Promise<NamespaceRecord | undefined> => {
    const path = `/api/v1/namespaces/${name}`
    const { found, revision } = await consistentRead(
      () => namespaces.revision(name),
      async (revision) => ({ found: namespaceRecord(await live.read(path, `${revision}`, name)), revision }),
      () => {
        const watched = namespaces.get(name)
        return watched && { found: watched, revision: namespaces.revision(name) }
      },
    )
    if (found?.injection) namespaces.learn(found, revision)
    return found
  }
  return { pod, namespace }
}
