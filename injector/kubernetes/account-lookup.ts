import type { Kube } from '../../common/kube/client.ts'
import { metadataOf, textMembers } from '../json.ts'
import type { ServiceAccount } from '../pod/account.ts'
import { coalesced } from './coalesced-reads.ts'
import { isAccountName, isNamespaceName } from './names.ts'

/** Reads the current state of a service account; throws where it cannot, or where there is none. */
export type AccountLookup = (namespace: string, name: string) => Promise<ServiceAccount>

/**
 * Reads without a cache, as namespaces are read, because charts create a service account and its pods at once. So the injector needs
 * to get service accounts, and neither to list nor to watch them.
 *
 * @param kube a client whose requests have a timeout
 */
export function accountLookup(kube: Pick<Kube, 'get'>): AccountLookup {
  const read = coalesced(async function lookUpAccount(path) {
    const [namespace = '', name = ''] = path.split('/')
    const metadata = metadataOf(await kube.get(`/api/v1/namespaces/${namespace}/serviceaccounts/${name}`))
    const annotations = textMembers(metadata.annotations)
    if (metadata.name !== name || metadata.namespace !== namespace || annotations === undefined)
      throw new Error('the API server answered with something else')
    return { namespace, name, annotations }
  })
  return async (namespace, name) => {
    // They become parts of a path, and anybody who reaches the port can send them.
    if (!isNamespaceName(namespace) || !isAccountName(name))
      throw new Error('the pod names no service account that can exist')
    return read(`${namespace}/${name}`)
  }
}
