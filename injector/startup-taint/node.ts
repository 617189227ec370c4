/** Which nodes have the startup taint, and the patch that removes it. Pure. */
import { isObject, type Json, type JsonObject, objectOf, objectsOf } from '../json.ts'

export type TaintedNode = {
  readonly name: string
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly taints: readonly JsonObject[]
}

/** What of a node guard's pod shows whether its node is guarded. */
export type GuardPod = {
  readonly uid: string
  readonly node: string
  /** Milliseconds since 1970, by the API server's clock; when the pod became ready is known only by the node's clock. */
  readonly createdAt: number
  /** Whether it is ready now and not being deleted. */
  readonly isReady: boolean
}

/** Projects a node as the API server sends it. Never throws. */
export function taintedNode(object: unknown): TaintedNode | undefined {
  if (!isObject(object) || !isObject(object.metadata)) return undefined
  const { name, creationTimestamp } = object.metadata
  if (typeof name !== 'string') return undefined
  return { name, createdAt: time(creationTimestamp), taints: objectsOf(objectOf(object.spec).taints) }
}

/** Projects a pod of the node guard. Never throws. */
export function guardPod(object: unknown): GuardPod | undefined {
  if (!isObject(object) || !isObject(object.metadata)) return undefined
  const { uid, creationTimestamp, deletionTimestamp } = object.metadata
  const { nodeName } = objectOf(object.spec)
  if (typeof uid !== 'string' || typeof nodeName !== 'string') return undefined
  const conditions = objectsOf(objectOf(object.status).conditions)
  const isReady = conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
  return {
    uid,
    node: nodeName,
    createdAt: time(creationTimestamp),
    isReady: isReady && deletionTimestamp === undefined,
  }
}

/**
 * Whether the guard is ready on this node. The pod of an earlier machine with the same name may still exist and look ready, but it was
 * created before this node. Both times are the API server's, in whole seconds.
 *
 * @param guards pods on nodes with this name
 */
export function isGuarded(node: TaintedNode, guards: Iterable<GuardPod>): boolean {
  for (const { createdAt, isReady } of guards) if (isReady && createdAt >= node.createdAt) return true
  return false
}

/**
 * The JSON Patch that removes every taint with this key, each after a `test` that it is unchanged, since controllers change taints at
 * the same time. Empty if there is none.
 */
export function untaint(
  { taints }: TaintedNode,
  key: string,
): readonly { op: string; path: string; value?: Json }[] {
  return taints
    .map((taint, index) => ({ taint, path: `/spec/taints/${index}` }))
    .filter(({ taint }) => taint.key === key)
    .reverse()
    .flatMap(({ taint, path }) => [
      { op: 'test', path, value: taint },
      { op: 'remove', path },
    ])
}

function time(value: Json | undefined): number {
  const parsed = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(parsed) ? 0 : parsed
}
