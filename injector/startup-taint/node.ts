/** Which nodes carry the startup taint, and what takes it away. Pure. */
import { isObject, type Json, type JsonObject } from '../json.ts'

export type TaintedNode = {
  readonly name: string
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly taints: readonly JsonObject[]
}

/** A pod of the node guard, as far as it says whether its node is guarded. */
export type GuardPod = {
  readonly uid: string
  readonly node: string
  /** Milliseconds since 1970, by the API server's clock as the node's: when it became ready only the node's clock knows. */
  readonly createdAt: number
  /** Now, and not being deleted. */
  readonly isReady: boolean
}

/** Projects a node as the API server sends it. Never throws. */
export function taintedNode(object: unknown): TaintedNode | undefined {
  if (!isObject(object) || !isObject(object.metadata)) return undefined
  const { name, creationTimestamp } = object.metadata
  if (typeof name !== 'string') return undefined
  const taints = isObject(object.spec) && Array.isArray(object.spec.taints) ? object.spec.taints : []
  return { name, createdAt: time(creationTimestamp), taints: taints.filter(isObject) }
}

/** Projects a pod of the node guard. Never throws. */
export function guardPod(object: unknown): GuardPod | undefined {
  if (!isObject(object) || !isObject(object.metadata)) return undefined
  const { uid, creationTimestamp, deletionTimestamp } = object.metadata
  const spec = isObject(object.spec) ? object.spec : {}
  if (typeof uid !== 'string' || typeof spec.nodeName !== 'string') return undefined
  const conditions =
    isObject(object.status) && Array.isArray(object.status.conditions) ? object.status.conditions : []
  const isReady = conditions
    .filter(isObject)
    .some(({ type, status }) => type === 'Ready' && status === 'True')
  return {
    uid,
    node: spec.nodeName,
    createdAt: time(creationTimestamp),
    isReady: isReady && deletionTimestamp === undefined,
  }
}

/**
 * Whether the guard is ready on this very node: the pod of a machine that had the same name may linger with the
 * readiness it had there, but it was created before this node was. Both times are the API server's, whole seconds.
 *
 * @param guards of this node's name
 */
export function isGuarded(node: TaintedNode, guards: Iterable<GuardPod>): boolean {
  for (const { createdAt, isReady } of guards) if (isReady && createdAt >= node.createdAt) return true
  return false
}

/**
 * The JSON Patch that takes every taint with this key away, each after a `test` that it is still the one that was
 * seen: controllers change taints at the same time. Empty where there is none.
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
