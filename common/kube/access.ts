/** Where the API server is and with what this process proves who it is. */
import { readFile } from 'node:fs/promises'

/** TLS material in PEM and a bearer token, as they are now. */
export type KubeCredentials = {
  readonly ca?: string
  readonly token?: string
  readonly cert?: string
  readonly key?: string
}

export type KubeAccess = {
  readonly server: URL
  readonly serverName?: string
  /** Reads token and certificates again: they are rotated under a running process. */
  readonly read: () => Promise<KubeCredentials>
}

/** What is wrong with the access to the API server, as a sentence for the operator. */
export class KubeAccessError extends Error {}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/**
 * Access from inside the cluster (environment and the projected service-account volume).
 *
 * @throws {KubeAccessError} outside a cluster
 */
export function inClusterAccess(
  env: Readonly<Record<string, string | undefined>>,
  directory: string = SERVICE_ACCOUNT,
): KubeAccess {
  const host = env.KUBERNETES_SERVICE_HOST
  const port = env.KUBERNETES_SERVICE_PORT_HTTPS ?? env.KUBERNETES_SERVICE_PORT ?? '443'
  if (!host)
    throw new KubeAccessError(
      'KUBERNETES_SERVICE_HOST is not set: this is not a pod; outside a cluster give --kubeconfig',
    )
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
