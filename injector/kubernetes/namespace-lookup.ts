import type { Kube } from '../../common/kube/client.ts'
import { metadataOf, objectOf } from '../json.ts'
import type { Namespace } from '../pod/namespace.ts'

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
    if (metadata.name !== name) throw new Error('the API server answered with something else')
    return { name, labels: texts(metadata.labels), annotations: texts(metadata.annotations) }
  })
}

/** RFC 1123 label. */
export const isNamespaceName = (name: string): boolean => /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/.test(name)

/** A map of texts from the API server. */
export function texts(value: unknown): Readonly<Record<string, string>> {
  return objectOf(value) as Readonly<Record<string, string>>
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
