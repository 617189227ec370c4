/** ConfigMaps, Secrets and bound tokens for a pod, from the API server. */
import { messageOf } from '../../../common/errors.ts'
import type { KubeClient } from '../kube/client/client.ts'
import type { ReadData } from './environment.ts'
import { ContainerConfigError } from './errors.ts'
import type { Pod } from './pod.ts'
import type { RequestToken } from './projection.ts'

/** Reads data in the pod's namespace. */
export function readData(kube: KubeClient, pod: Pod): ReadData {
  return async (kind, name) => {
    const object = await kube.find(kind, name, pod.metadata.namespace)
    if (object === undefined) return undefined
    const entries = Object.entries((object.data ?? {}) as Record<string, string>)
    return Object.fromEntries(
      kind === 'secrets' ? entries.map(([key, value]) => [key, fromBase64(value)]) : entries,
    )
  }
}

/**
 * TokenRequest bound to the pod, as the kubelet creates it.
 *
 * @throws ContainerConfigError when the server refuses: volumes are retried
 */
export function requestToken(kube: KubeClient, pod: Pod): RequestToken {
  const { namespace = 'default', name, uid = '' } = pod.metadata
  const account = pod.spec.serviceAccountName ?? 'default'
  return async (audience, expirationSeconds) => {
    const audiences = audience === undefined ? {} : { audiences: [audience] }
    const options = { ...audiences, expirationSeconds, pod: { name, uid } }
    const issued = await kube.createToken(namespace, account, options).catch((error: unknown) => {
      throw new ContainerConfigError(`token of ${account}: ${messageOf(error)}`)
    })
    return { token: issued.token, expires: new Date(issued.expirationTimestamp) }
  }
}

function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString()
}
