/** Service accounts, from which pods may get roles if the injector is configured that way. */
import type { V1ServiceAccount } from '@kubernetes/client-node'
import { isObject, type JsonObject, type ServiceAccount } from '../product/injector.ts'
import { type Answer, foundIn } from './api-request.ts'
import type { Cluster } from './cluster.ts'

/** The name of the service account that a pod uses, or will use; the API server also accepts the field's former name. */
export function accountNameOf(pod: JsonObject): string {
  const { serviceAccountName, serviceAccount } = isObject(pod.spec) ? pod.spec : {}
  return String(serviceAccountName || serviceAccount || 'default')
}

export function readAccount(
  { ask, core }: Cluster,
  namespace: string,
  name: string,
): Promise<Answer<ServiceAccount>> {
  return ask({ verb: 'get', resource: 'serviceaccounts', namespace }, async (options) =>
    accountOf(await core.readNamespacedServiceAccount({ namespace, name }, options)),
  )
}

/** All service accounts of the cluster by `namespace/name`; undefined if the user may not list them. */
export async function allAccounts({
  askAll,
  core,
}: Cluster): Promise<ReadonlyMap<string, ServiceAccount> | undefined> {
  const all = await askAll({ verb: 'list', resource: 'serviceaccounts' }, (query, options) =>
    core.listServiceAccountForAllNamespaces(query, options),
  )
  const accounts = foundIn(all)?.map(accountOf)
  return accounts && new Map(accounts.map((one) => [`${one.namespace}/${one.name}`, one]))
}

/** The account in the form in which the injector reads it. */
export function accountOf({ metadata }: Pick<V1ServiceAccount, 'metadata'>): ServiceAccount {
  const { namespace = '', name = '', annotations = {} } = metadata ?? {}
  return { namespace, name, annotations }
}
