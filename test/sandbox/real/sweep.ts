/** The suites share a real API server: after each of them, the objects that it created are deleted. */

import { policiesInForce } from '../kube/admission/test-policies.ts'
import type { ApiServer } from '../kube/client/client.ts'
import type { KubeClient } from '../kube/client/kube-client.ts'
import type { KubeObject } from '../kube/objects/objects.ts'
import { isApiError } from '../kube/objects/status.ts'

const KEPT_NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease']
/** Sorted so that what would hinder the other deletions comes first. */
const CLUSTER_WIDE = [
  'mutatingwebhookconfigurations',
  'validatingwebhookconfigurations',
  'validatingadmissionpolicybindings',
  'validatingadmissionpolicies',
  'clusterrolebindings.rbac.authorization.k8s.io',
  'clusterroles.rbac.authorization.k8s.io',
  'nodes',
  'priorityclasses',
]
const IN_DEFAULT = [
  '/apis/apps/v1/namespaces/default/deployments',
  '/apis/apps/v1/namespaces/default/daemonsets',
  '/apis/batch/v1/namespaces/default/jobs',
  '/api/v1/namespaces/default/events',
]

const isBuiltIn = ({ metadata: { name = '', labels } }: KubeObject) =>
  labels?.['kubernetes.io/bootstrapping'] !== undefined || name.startsWith('system')

/** Does not wait for the end of namespaces; creating one again under the same name does. */
export async function sweep(server: ApiServer): Promise<void> {
  const kube = server.admin
  const policies = (await itemsOf(kube, 'validatingadmissionpolicybindings')).length > 0
  for (const resource of CLUSTER_WIDE) await deleteAll(kube, resource, isBuiltIn)
  for (const path of IN_DEFAULT) await kube.request('DELETE', path)
  await deleteAll(kube, 'configmaps', ({ metadata }) => metadata.name === 'kube-root-ca.crt', 'default')
  await deleteAll(kube, 'serviceaccounts', ({ metadata }) => metadata.name === 'default', 'default')
  for (const { metadata } of (await kube.list('pods')).items) {
    const path = `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`
    await kube.request('DELETE', path, { gracePeriodSeconds: 0 })
  }
  if (policies) await policiesInForce(server)
  await deleteAll(kube, 'namespaces', ({ metadata }) => KEPT_NAMESPACES.includes(metadata.name ?? ''))
}

async function deleteAll(
  kube: KubeClient,
  resource: string,
  isKept: (object: KubeObject) => boolean,
  namespace?: string,
): Promise<void> {
  for (const object of await itemsOf(kube, resource, namespace))
    if (!isKept(object)) await kube.delete(resource, object.metadata.name ?? '', namespace).catch(() => {})
}

/** Empty for a kind that this Kubernetes does not have. */
async function itemsOf(
  kube: KubeClient,
  resource: string,
  namespace?: string,
): Promise<readonly KubeObject[]> {
  try {
    return (await kube.list(resource, namespace === undefined ? {} : { namespace })).items
  } catch (error) {
    if (isApiError(error, 404)) return []
    throw error
  }
}
