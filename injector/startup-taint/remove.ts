/**
 * Removes the startup taint from nodes whose guard is ready: pods without a toleration are scheduled there only then. Every replica
 * does this; of two patches one fails its `test`, so nothing happens twice.
 */

import { every } from '../../common/clock.ts'
import type { Deps } from '../../common/deps.ts'
import { messageOf } from '../../common/errors.ts'
import { KubeError } from '../../common/kube/client.ts'
import { reflect, type Sink } from '../../common/kube/reflector.ts'
import { type GuardPod, guardPod, isGuarded, type TaintedNode, taintedNode, untaint } from './node.ts'

export type StartupTaint = ReturnType<typeof removeStartupTaint>

/** Between attempts for a node; the watches notice changes in the meantime. */
const SWEEP_MS = 2000

/** Objects in one page of the lists of nodes and guards. */
const PAGE = 100

type GuardPlace = { readonly namespace: string; readonly selector: string }

/** @param key of the taint, whatever its value and effects */
export function removeStartupTaint(deps: Deps, key: string, guard: GuardPlace) {
  const nodes = new Map<string, TaintedNode>()
  const guards = knownGuards()
  const underWay = new Set<string>()
  let removed = 0

  const consider = async (node: TaintedNode | undefined) => {
    if (node === undefined || underWay.has(node.name) || !isGuarded(node, guards.of(node.name))) return
    underWay.add(node.name)
    const isFree = await hasRemoved(node, key, deps)
    underWay.delete(node.name)
    if (!isFree) return
    removed++
    nodes.delete(node.name)
  }
  const considerAll = () => {
    for (const node of nodes.values()) void consider(node)
  }
  const putNode = (node: TaintedNode) => {
    if (node.taints.some((taint) => taint.key === key)) nodes.set(node.name, node)
    else nodes.delete(node.name)
  }
  const ofNodes: Sink<TaintedNode> = {
    project: taintedNode,
    replace(all) {
      nodes.clear()
      for (const node of all) putNode(node)
      considerAll()
    },
    upsert(node) {
      putNode(node)
      void consider(nodes.get(node.name))
    },
    remove: ({ name }) => nodes.delete(name),
  }
  const ofGuards: Sink<GuardPod> = {
    project: guardPod,
    replace(all) {
      guards.clear()
      for (const guard of all) guards.put(guard)
      considerAll()
    },
    upsert(guard) {
      guards.put(guard)
      void consider(nodes.get(guard.node))
    },
    remove: guards.remove,
  }
  reflect({ path: '/api/v1/nodes', query: {}, sink: ofNodes, page: PAGE }, deps)
  const query = { labelSelector: guard.selector }
  reflect({ path: `/api/v1/namespaces/${guard.namespace}/pods`, query, sink: ofGuards, page: PAGE }, deps)
  every(deps.clock, SWEEP_MS, deps.signal, considerAll)
  return {
    /** Number of nodes that have the taint now. */
    tainted: () => nodes.size,
    removed: () => removed,
  }
}

/** Whether the taint could be removed; never rejects. */
async function hasRemoved(node: TaintedNode, key: string, { kube, log }: Deps<'send'>): Promise<boolean> {
  try {
    await kube.send('PATCH', `/api/v1/nodes/${node.name}`, untaint(node, key))
    log.info('startup taint removed, the node is guarded', { node: node.name })
    return true
  } catch (error) {
    // 422: a `test` failed because the taints have changed; 404: the node is gone. The watch will show either in a moment.
    const passes = error instanceof KubeError && (error.status === 422 || error.status === 404)
    log[passes ? 'debug' : 'warn']('startup taint not removed', {
      node: node.name,
      error: messageOf(error),
    })
    return false
  }
}

/** By node and uid: a cluster has thousands of nodes, each with one guard, or two during its replacement. */
function knownGuards() {
  const byNode = new Map<string, Map<string, GuardPod>>()
  return {
    of: (node: string) => byNode.get(node)?.values() ?? [],
    put(guard: GuardPod) {
      const ofNode = byNode.get(guard.node) ?? new Map<string, GuardPod>()
      byNode.set(guard.node, ofNode.set(guard.uid, guard))
    },
    remove({ node, uid }: GuardPod) {
      const ofNode = byNode.get(node)
      if (ofNode?.delete(uid) && ofNode.size === 0) byNode.delete(node)
    },
    clear: () => byNode.clear(),
  }
}
