/** What every namespace has, and how it is deleted: the serviceaccount, root-ca and namespace controllers. */
import { randomUUID } from 'node:crypto'
import { type KubeObject, timestamp } from '../objects/objects.ts'
import { keyOf, RESOURCES, type Resource, resourceNamed } from '../objects/resources.ts'
import type { Store } from '../objects/store.ts'

const NAMESPACES = resourceNamed('namespaces')
const NAMESPACED = RESOURCES.filter((r) => r.namespaced && !r.virtual && r.group !== 'events.k8s.io')

function member(resource: Resource, namespace: string, name: string, now: number, body: object): KubeObject {
  return {
    apiVersion: 'v1',
    kind: resource.kind,
    metadata: { name, namespace, uid: randomUUID(), creationTimestamp: timestamp(now) },
    ...body,
  }
}

/**
 * Gives every new namespace its default service account and CA bundle (at once, where a real cluster takes a few
 * milliseconds), and removes a terminating one with all its contents.
 */
export function keepNamespaces(store: Store, caPem: string, now: () => number): void {
  const accounts = resourceNamed('serviceaccounts')
  const configMaps = resourceNamed('configmaps')

  function ensureMembers(namespace: string): void {
    if (store.get(accounts, namespace, 'default') === undefined)
      store.put(accounts, member(accounts, namespace, 'default', now(), {}), undefined)
    const root = 'kube-root-ca.crt'
    if (store.get(configMaps, namespace, root) === undefined)
      store.put(
        configMaps,
        member(configMaps, namespace, root, now(), { data: { 'ca.crt': caPem } }),
        undefined,
      )
  }

  function terminate(name: string): void {
    const namespace = store.get(NAMESPACES, undefined, name)
    if (namespace?.metadata.deletionTimestamp === undefined) return
    for (const resource of NAMESPACED)
      for (const object of store.list(resource, name)) {
        const graceful = resource.plural === 'pods' && (object.spec as { nodeName?: string }).nodeName
        if (!graceful && (object.metadata.finalizers ?? []).length === 0) store.remove(resource, object)
        else if (object.metadata.deletionTimestamp === undefined) {
          const metadata = {
            ...object.metadata,
            deletionTimestamp: timestamp(now()),
            deletionGracePeriodSeconds: 30,
          }
          store.put(resource, { ...object, metadata }, object)
        }
      }
    if (NAMESPACED.every((resource) => store.list(resource, name).length === 0))
      store.remove(NAMESPACES, namespace)
  }

  store.subscribe(({ type, key, object }) => {
    const { name = '', namespace, deletionTimestamp } = object.metadata
    if (key === keyOf(NAMESPACES)) {
      if (type === 'ADDED') ensureMembers(name)
      if (type === 'MODIFIED' && deletionTimestamp !== undefined) terminate(name)
      return
    }
    if (type !== 'DELETED' || namespace === undefined) return
    const home = store.get(NAMESPACES, undefined, namespace)
    if (home === undefined) return
    if (home.metadata.deletionTimestamp !== undefined) terminate(namespace)
    else if (name === 'default' && object.kind === 'ServiceAccount') ensureMembers(namespace)
  })
}
