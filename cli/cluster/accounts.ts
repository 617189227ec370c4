/** Service accounts, by which pods may have roles: only where the injector is set so. */
import type { V1ServiceAccount } from '@kubernetes/client-node'
import { isObject, type JsonObject, type ServiceAccount } from '../product/injector.ts'
import { type Answer, foundIn } from './asked.ts'
import type { Cluster } from './cluster.ts'

/** The name of the service account as which a pod runs, or is to run: the API server also takes the field's earlier name. */
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

/** All of the cluster by `namespace/name`; undefined where they may not be listed. */
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

/** As the injector reads it. */
export function accountOf({ metadata }: Pick<V1ServiceAccount, 'metadata'>): ServiceAccount {
  const { namespace = '', name = '', annotations = {} } = metadata ?? {}
  return { namespace, name, annotations }
}
