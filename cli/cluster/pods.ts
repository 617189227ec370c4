import type { V1Pod } from '@kubernetes/client-node'
import type { Answer } from './api-request.ts'
import type { Cluster } from './cluster.ts'

/** Gets a pod by name. A caller that may only list pods, such as the injector's service account, finds it in a list. */
export async function readPod(
  { ask, core, refuse }: Cluster,
  namespace: string,
  name: string,
): Promise<Answer<V1Pod>> {
  const asked = { verb: 'get', resource: 'pods', namespace } as const
  const pod = await ask({ ...asked, quiet: true }, (options) =>
    core.readNamespacedPod({ namespace, name }, options),
  )
  if (pod.kind !== 'forbidden') return pod
  const fieldSelector = `metadata.name=${name}`
  const listed = await ask({ verb: 'list', resource: 'pods', namespace, quiet: true }, (options) =>
    core.listNamespacedPod({ namespace, fieldSelector }, options),
  )
  if (listed.kind !== 'found') {
    refuse(asked)
    return { kind: 'forbidden', asked }
  }
  const [found] = listed.value.items
  return found === undefined ? { kind: 'absent' } : { kind: 'found', value: found }
}
