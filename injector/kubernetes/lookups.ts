/** Reads the namespace and the service account on which a decision depends. */
import type { Kube } from '../../common/kube/client.ts'
import { metadataOf, textMembers } from '../json.ts'
import type { ServiceAccount } from '../pod/account.ts'
import type { Namespace } from '../pod/namespace.ts'
import { isAccountName, isNamespaceName } from './names.ts'

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

type Flight<T> = { readonly running: Promise<T>; next: Promise<T> | undefined }

/**
 * Allows one read of an object at a time. A lookup during a read shares the next read, never the one in progress: that may have
 * been answered before the label was written on which the lookup depends.
 */
export function coalesced<T>(read: (name: string) => Promise<T>): (name: string) => Promise<T> {
  const flights = new Map<string, Flight<T>>()
  const start = (name: string): Promise<T> => {
    const flight: Flight<T> = { running: read(name), next: undefined }
    flights.set(name, flight)
    const ended = () => {
      if (flight.next === undefined) flights.delete(name)
    }
    flight.running.then(ended, ended)
    return flight.running
  }
  return function sharedLookUp(name) {
    const flight = flights.get(name)
    if (flight === undefined) return start(name)
    const after = () => start(name)
    flight.next ??= flight.running.then(after, after)
    return flight.next
  }
}
