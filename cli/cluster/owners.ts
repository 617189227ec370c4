/** The workload to which a pod belongs: the object that people deploy, not those that controllers create from it. */
import type { V1ObjectMeta, V1Pod } from '@kubernetes/client-node'
import { foundIn } from './api-request.ts'
import type { Cluster } from './cluster.ts'

export type Owner = { readonly namespace: string; readonly kind: string; readonly name: string }

export type Owners = (pod: V1Pod) => Promise<Owner>

/** Looks up each ReplicaSet and each Job once; if that is not allowed, these count as the workload. */
export function ownersOf({ ask, apps, batch }: Cluster): Owners {
  const known = new Map<string, Promise<Owner>>()
  const above = async ({ namespace, kind, name }: Owner): Promise<Owner> => {
    const from = { namespace, name }
    const resource = kind === 'ReplicaSet' ? 'replicasets.apps' : 'jobs.batch'
    const answer = await ask<{ metadata?: V1ObjectMeta }>({ verb: 'get', resource, namespace }, (options) =>
      kind === 'ReplicaSet'
        ? apps.readNamespacedReplicaSet(from, options)
        : batch.readNamespacedJob(from, options),
    )
    return controllerOf(foundIn(answer)?.metadata, namespace) ?? { namespace, kind, name }
  }
  return async function ownerOf({ metadata }) {
    const namespace = metadata?.namespace ?? ''
    const own = controllerOf(metadata, namespace)
    if (own === undefined) return { namespace, kind: 'Pod', name: metadata?.name ?? '' }
    if (own.kind !== 'ReplicaSet' && own.kind !== 'Job') return own
    const key = `${own.kind} ${namespace}/${own.name}`
    const looked = known.get(key) ?? above(own)
    known.set(key, looked)
    return looked
  }
}

function controllerOf(metadata: V1ObjectMeta | undefined, namespace: string): Owner | undefined {
  const owner = metadata?.ownerReferences?.find(({ controller }) => controller === true)
  return owner === undefined ? undefined : { namespace, kind: owner.kind, name: owner.name }
}
