/** Admitted pods in the sandbox's cluster, running on the broker's node. Their sidecars send requests over loopback. */
import { SIDECAR_CONTAINER } from '../../common/keys.ts'
import { NODE, type World } from '../broker/world.ts'
import type { KubeObject } from '../sandbox/kube/client/client.ts'
import { type Admitted, type Container, containerOf } from './admitted.ts'

export type WorldPod = { readonly namespace: string; readonly token: string; readonly sidecar: Container }

/** The source address over loopback, unless the sender chooses another one. */
const ADDRESS = '127.0.0.1'

let created = 0

/** Creates a pod in a namespace of its own, with the status of a running pod. */
export async function createAdmitted(world: World, { namespace, admitted }: Admitted): Promise<WorldPod> {
  const { admin } = world.api
  const name = `${namespace.name}-${++created}`
  await world.namespace(name, { ...namespace.labels }, { ...namespace.annotations })
  const { serviceAccountName = 'default', ...spec } = admitted.spec
  const serviceAccount = String(serviceAccountName)
  if (serviceAccount !== 'default')
    await admin.apply({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: serviceAccount, namespace: name },
    })
  const pod = await admin.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'orders', namespace: name, annotations: admitted.metadata.annotations ?? {} },
    spec: { ...spec, serviceAccountName: serviceAccount, nodeName: NODE },
  } as unknown as KubeObject)
  const status = { phase: 'Running', podIP: ADDRESS, podIPs: [{ ip: ADDRESS }] }
  await admin.patch('pods', 'orders', name, { status }, { type: 'strategic', subresource: 'status' })
  const token = await world.token(name, serviceAccount, { name: 'orders', uid: pod.metadata.uid ?? '' })
  return { namespace: name, token, sidecar: containerOf(admitted, SIDECAR_CONTAINER) }
}
