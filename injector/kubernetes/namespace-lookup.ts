import type { Kube } from '../../common/kube/client.ts'
import { metadataOf, textMembers } from '../json.ts'
import type { Namespace } from '../pod/namespace.ts'
import { coalesced } from './coalesced-reads.ts'
import { isNamespaceName } from './names.ts'

/** Reads the current state of a namespace; throws where it cannot. */
export type NamespaceLookup = (name: string) => Promise<Namespace>

/**
 * Reads without a cache: a pod is often created milliseconds after its namespace was labelled (amazon-eks-pod-identity-webhook#83,
 * #174), and one GET is cheap compared with the creation of a pod. Concurrent lookups of one namespace share a read.
 *
 * @param kube a client whose requests have a timeout
 */
export function namespaceLookup(kube: Pick<Kube, 'get'>): NamespaceLookup {
  return coalesced(async function lookUpNamespace(name) {
    // It becomes part of a path, and anybody who reaches the port can send it.
    if (!isNamespaceName(name)) throw new Error('the review names no namespace')
    const answer = await kube.get(`/api/v1/namespaces/${name}`)
    const metadata = metadataOf(answer)
    const [labels, annotations] = [textMembers(metadata.labels), textMembers(metadata.annotations)]
    if (metadata.name !== name || labels === undefined || annotations === undefined)
      throw new Error('the API server answered with something else')
    return { name, labels, annotations }
  })
}
