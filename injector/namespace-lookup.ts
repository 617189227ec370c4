import { CoreV1Api, type KubeConfig } from '@kubernetes/client-node'
import type { Namespace } from './namespace.ts'

/** Reads a namespace as it is now; throws when it cannot. */
export type NamespaceLookup = (name: string) => Promise<Namespace>

/**
 * A live read for every review, no cache: a pod is often created milliseconds after its namespace was labelled
 * (amazon-eks-pod-identity-webhook#83, #174), and one GET beside a pod's creation costs nothing.
 *
 * @param kubeConfig with bounded requests (`kubeConfig()`)
 */
export function namespaceLookup(kubeConfig: KubeConfig): NamespaceLookup {
  const api = kubeConfig.makeApiClient(CoreV1Api)
  return async function lookUpNamespace(name) {
    if (name === '') throw new Error('the review names no namespace')
    const { metadata } = await api.readNamespace({ name })
    if (metadata?.name !== name) throw new Error('the API server answered with something else')
    return { name, labels: metadata.labels ?? {}, annotations: metadata.annotations ?? {} }
  }
}
