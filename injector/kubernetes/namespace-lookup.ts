import type { Kube } from '../../common/kube/client.ts'
import { isObject } from '../json.ts'
import type { Namespace } from '../pod/namespace.ts'

/** Reads a namespace as it is now; throws when it cannot. */
export type NamespaceLookup = (name: string) => Promise<Namespace>

/**
 * A live read, no cache: a pod is often created milliseconds after its namespace was labelled
 * (amazon-eks-pod-identity-webhook#83, #174), and one GET beside a pod's creation costs nothing. Concurrent
 * look-ups of one namespace share a read.
 *
 * @param kube whose requests are bounded in time
 */
export function namespaceLookup(kube: Pick<Kube, 'get'>): NamespaceLookup {
  return shared(async function lookUpNamespace(name) {
    // It becomes part of a path, and whoever reaches the port can write it.
    if (!isNamespaceName(name)) throw new Error('the review names no namespace')
    const answer = await kube.get(`/api/v1/namespaces/${name}`)
    const metadata = isObject(answer) ? answer.metadata : undefined
    if (!isObject(metadata) || metadata.name !== name)
      throw new Error('the API server answered with something else')
    return { name, labels: texts(metadata.labels), annotations: texts(metadata.annotations) }
  })
}

/** RFC 1123 label. */
export const isNamespaceName = (name: string): boolean => /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/.test(name)

/** A map of texts as the API server sends it. */
function texts(value: unknown): Readonly<Record<string, string>> {
  return isObject(value) ? (value as Readonly<Record<string, string>>) : {}
}

type Flight = { readonly running: Promise<Namespace>; next: Promise<Namespace> | undefined }

/**
 * At most one read of a namespace at a time. Who comes while one is under way shares the one after it, never that
 * one itself: it may have been answered before the label was written that the newcomer depends on.
 */
export function shared(read: NamespaceLookup): NamespaceLookup {
  const flights = new Map<string, Flight>()
  const start = (name: string): Promise<Namespace> => {
    const flight: Flight = { running: read(name), next: undefined }
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
