/** The nodes that have a guard. */
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import { type LivePod, podsOf } from './cluster-pods.ts'
import type { Context } from './context.ts'
import { LeftOut } from './promise.ts'

const GUARD_PODS = 'app.kubernetes.io/component=node-guard'

export type NodeObject = KubeObject & {
  readonly spec?: { readonly providerID?: string; readonly unschedulable?: boolean }
  readonly status?: {
    readonly nodeInfo?: { readonly bootID?: string }
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
  }
}

export function nodeNamed({ access }: Context, name: string): Promise<NodeObject> {
  return access.kube.get<NodeObject>('nodes', name)
}

export function isReady(status: NodeObject['status']): boolean {
  return status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
}

/** The guard of a node. */
export async function guardOn(context: Context, nodeName: string): Promise<LivePod> {
  const guards = await podsOf(context, context.options.namespace, GUARD_PODS)
  const found = guards.find(({ spec }) => spec.nodeName === nodeName)
  if (found === undefined) throw new Error(`${nodeName} has no guard`)
  return found
}

/**
 * A node with a guard, other than this one, on which pods may be created.
 *
 * @throws {LeftOut} if there is none
 */
export async function anotherNode(context: Context, name: string): Promise<string> {
  const guards = await podsOf(context, context.options.namespace, GUARD_PODS)
  for (const { spec } of guards) {
    const { nodeName } = spec
    if (nodeName === undefined || nodeName === name) continue
    if ((await nodeNamed(context, nodeName)).spec?.unschedulable !== true) return nodeName
  }
  throw new LeftOut('this cluster has one node with a guard')
}
