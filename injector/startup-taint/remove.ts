/**
 * Takes the startup taint from nodes whose guard is ready: pods that tolerate nothing are scheduled there only
 * then. Every replica does it; of two patches one fails its `test`, and nothing happens twice.
 */
import type { Clock } from '../../common/clock.ts'
import { messageOf } from '../../common/errors.ts'
import { type Kube, KubeError } from '../../common/kube/client.ts'
import { reflect, type Sink } from '../../common/kube/reflector.ts'
import type { Logger } from '../../common/log.ts'
import { type GuardPod, guardPod, isGuarded, type TaintedNode, taintedNode, untaint } from './node.ts'

export type StartupTaint = {
  /** Nodes that carry it now. */
  readonly tainted: () => number
  readonly removed: () => number
}

/** Between tries for a node; whatever changes in the meantime is noticed by the watches. */
const SWEEP_MS = 2000

export type GuardPlace = { readonly namespace: string; readonly selector: string }

/** @param key of the taint, whatever its value and effects */
export function removeStartupTaint(
  by: { readonly kube: Kube; readonly clock: Clock; readonly log: Logger; readonly signal: AbortSignal },
  key: string,
  guard: GuardPlace,
): StartupTaint {
  const { kube, clock, log, signal } = by
  const nodes = new Map<string, TaintedNode>()
  const guards = new Map<string, GuardPod>()
  const underWay = new Set<string>()
  let removed = 0

  const consider = async (node: TaintedNode) => {
    if (underWay.has(node.name) || !isGuarded(node, guards.values())) return
    underWay.add(node.name)
    try {
      await kube.send('PATCH', `/api/v1/nodes/${node.name}`, untaint(node, key))
      removed++
      nodes.delete(node.name)
      log.info('startup taint removed, the node is guarded', { node: node.name })
    } catch (error) {
      // 422: a `test` failed, the taints have changed; 404: the node is gone. The watch knows more in a moment.
      const passes = error instanceof KubeError && (error.status === 422 || error.status === 404)
      log[passes ? 'debug' : 'warn']('startup taint not removed', {
        node: node.name,
        error: messageOf(error),
      })
    } finally {
      underWay.delete(node.name)
    }
  }
  const considerAll = () => {
    for (const node of nodes.values()) void consider(node)
  }
  const ofNodes: Sink<TaintedNode> = sinkOf(nodes, taintedNode, {
    key: ({ name }) => name,
    keep: ({ taints }) => taints.some((taint) => taint.key === key),
    changed: considerAll,
  })
  const ofGuards: Sink<GuardPod> = sinkOf(guards, guardPod, {
    key: ({ uid }) => uid,
    keep: () => true,
    changed: considerAll,
  })
  reflect({ path: '/api/v1/nodes', query: {}, sink: ofNodes }, by)
  const query = { labelSelector: guard.selector }
  reflect({ path: `/api/v1/namespaces/${guard.namespace}/pods`, query, sink: ofGuards }, by)
  const sweep = () => {
    if (signal.aborted) return
    considerAll()
    clock.after(SWEEP_MS, sweep)
  }
  clock.after(SWEEP_MS, sweep)
  return { tainted: () => nodes.size, removed: () => removed }
}

function sinkOf<T>(
  store: Map<string, T>,
  project: (object: unknown) => T | undefined,
  by: {
    readonly key: (one: T) => string
    readonly keep: (one: T) => boolean
    readonly changed: () => void
  },
): Sink<T> {
  const put = (one: T) => {
    if (by.keep(one)) store.set(by.key(one), one)
    else store.delete(by.key(one))
  }
  return {
    project,
    replace(all) {
      store.clear()
      for (const one of all) put(one)
      by.changed()
    },
    upsert(one) {
      put(one)
      by.changed()
    },
    remove: (one) => store.delete(by.key(one)),
  }
}
