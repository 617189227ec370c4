/** The address of the API server, and this process's credentials for it. */
import { readFile } from 'node:fs/promises'
import type { Agent } from 'node:http'

/** The current TLS material in PEM, and the current credentials in requests. */
export type KubeCredentials = {
  readonly ca?: string
  readonly token?: string
  readonly cert?: string
  readonly key?: string
  /** Sent with each request beside the token: another kind of authorization, or who is impersonated. */
  readonly headers?: Readonly<Record<string, string>>
}

export type KubeAccess = {
  readonly server: URL
  readonly serverName?: string
  /** The certificate of the API server is not checked, because that was requested explicitly. */
  readonly isInsecure?: boolean
  /** How old credentials may get before they are read again, in milliseconds; 30 seconds unless it is given. */
  readonly rereadMs?: number
  /**
   * Reads token and certificates again: they are rotated under a running process.
   *
   * @param isRefused the API server has just answered 401 to the last ones
   * @throws {KubeAccessError} with the remedy, or the error of a file that cannot be read
   */
  readonly read: (isRefused?: boolean) => Promise<KubeCredentials>
  /** Makes the connections where they are not plain TLS to the server: through a proxy, or without TLS. */
  readonly agent?: (credentials: KubeCredentials) => Promise<Agent>
}

/** A problem with the access to the API server, as a message for the operator. */
export class KubeAccessError extends Error {}

/**
 * @param name of the source of the access, such as `kubeconfig PATH`
 * @param detail a sentence with the remedy
 */
export function accessError(name: string, detail: string): KubeAccessError {
  return new KubeAccessError(`${name} cannot be used: ${detail}`)
}

/** Why a process outside a pod has no access, with the remedy. */
export const NOT_IN_A_POD =
  'KUBERNETES_SERVICE_HOST is not set: this is not a pod; outside a cluster give --kubeconfig'

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/**
 * Access from inside the cluster (environment and the projected service-account volume), without `KubeConfig`: this is
 * what runs on every node.
 *
 * @throws {KubeAccessError} outside a cluster
 */
export function inClusterAccess(
  env: Readonly<Record<string, string | undefined>>,
  directory: string = SERVICE_ACCOUNT,
): KubeAccess {
  const host = env.KUBERNETES_SERVICE_HOST
  const port = env.KUBERNETES_SERVICE_PORT_HTTPS ?? env.KUBERNETES_SERVICE_PORT ?? '443'
  if (!host) throw new KubeAccessError(NOT_IN_A_POD)
  return {
    server: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    read: async () => {
      const [ca, token] = await Promise.all([
        readFile(`${directory}/ca.crt`, 'utf8'),
        readFile(`${directory}/token`, 'utf8'),
      ])
      return { ca, token: token.trim() }
    },
  }
}
