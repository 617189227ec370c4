/** A scheduler for a cluster of one node: nodeSelector and taints; pods of DaemonSets are bound by their controller. */
import { isApiError, type KubeClient, type ObjectMeta } from '../kube/client/client.ts'
import type { Pod, Toleration } from './pod.ts'

export const HOSTNAME_LABEL = 'kubernetes.io/hostname'

type Taint = { readonly key: string; readonly value?: string; readonly effect: string }

export type Node = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: ObjectMeta
  readonly spec?: { readonly taints?: readonly Taint[] }
}

/** Why the pod does not fit, in the scheduler's words; undefined if it does. Pure. */
export function misfit(pod: Pod, node: Node): string | undefined {
  const labels = node.metadata.labels ?? {}
  if (Object.entries(pod.spec.nodeSelector ?? {}).some(([key, value]) => labels[key] !== value))
    return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
  const tolerations = pod.spec.tolerations ?? []
  const taint = (node.spec?.taints ?? []).find(
    (one) =>
      one.effect !== 'PreferNoSchedule' && !tolerations.some((toleration) => tolerates(toleration, one)),
  )
  if (taint === undefined) return undefined
  return `0/1 nodes are available: 1 node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}.`
}

function tolerates({ key, operator = 'Equal', value = '', effect }: Toleration, taint: Taint): boolean {
  if (effect !== undefined && effect !== '' && effect !== taint.effect) return false
  if (key === undefined || key === '') return operator === 'Exists'
  return key === taint.key && (operator === 'Exists' || value === (taint.value ?? ''))
}

/**
 * Binds pods without a node; those that do not fit are tried again whenever the node changes. Handles one pod at a time, each with
 * the current state of the node: a change of the node that a test made before it created a pod applies to that pod, and the
 * condition of a waiting pod is written before it is bound.
 */
export function startScheduler(
  kube: Pick<KubeClient, 'follow' | 'find' | 'bind' | 'patch'>,
  nodeName: string,
): { close(): void } {
  const waiting = new Map<string, Pod>()
  let turn = Promise.resolve()
  let closed = false

  const consider = (pod: Pod) => {
    turn = turn.then(() => judge(pod))
  }
  const judge = async ({ metadata: { uid = '' } }: Pod): Promise<void> => {
    const pod = waiting.get(uid)
    if (pod === undefined || closed) return
    const { namespace = 'default', name } = pod.metadata
    try {
      const node = await kube.find<Node>('nodes', nodeName)
      if (node === undefined) return
      const reason = misfit(pod, node)
      if (reason === undefined) {
        waiting.delete(uid)
        await kube.bind(namespace, name, nodeName)
      } else {
        const conditions = [unschedulable(reason)]
        await kube.patch('pods', name, namespace, { status: { conditions } }, { subresource: 'status' })
      }
    } catch (error) {
      // Another client has bound it, or it is gone.
      if (!closed && !isApiError(error, 404) && !isApiError(error, 409)) throw error
    }
  }
  const nodes = kube.follow<Node>(
    'nodes',
    { fieldSelector: `metadata.name=${nodeName}` },
    {
      onChange: () => {
        for (const pod of waiting.values()) consider(pod)
      },
    },
  )
  const pods = kube.follow<Pod>(
    'pods',
    { fieldSelector: 'spec.nodeName=' },
    {
      onChange: (pod, previous) => {
        const { uid = '', deletionTimestamp } = pod.metadata
        if (pod.spec.nodeName || deletionTimestamp !== undefined) waiting.delete(uid)
        else waiting.set(uid, pod)
        if (previous === undefined && waiting.has(uid)) consider(pod)
      },
      onDelete: ({ metadata: { uid = '' } }) => {
        waiting.delete(uid)
      },
    },
  )
  return {
    close: () => {
      closed = true
      nodes.close()
      pods.close()
    },
  }
}

function unschedulable(message: string) {
  const lastTransitionTime = `${new Date().toISOString().slice(0, 19)}Z`
  return { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message, lastTransitionTime }
}
