import { existsSync } from 'node:fs'
import { KubeConfig } from '@kubernetes/client-node'

/** Leaves the API server's own five seconds for a webhook room for an answer. */
const REQUEST_TIMEOUT_MS = 2000
const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token'

type SecurityContext = Parameters<KubeConfig['applySecurityAuthentication']>[0]

/** client-node's configuration with every request bounded in time and connections kept. */
class BoundedKubeConfig extends KubeConfig {
  override async applySecurityAuthentication(context: SecurityContext): Promise<void> {
    await super.applySecurityAuthentication(context)
    context.setSignal(AbortSignal.timeout(REQUEST_TIMEOUT_MS))
  }
}

/**
 * The way to the API server.
 *
 * @param file kubeconfig; undefined: the pod's service account
 * @throws Error with a sentence where there is none
 */
export function kubeConfig(file: string | undefined): KubeConfig {
  const config = new BoundedKubeConfig()
  if (file !== undefined) {
    if (!existsSync(file)) throw new Error(`--kubeconfig: there is no file ${file}`)
    config.loadFromFile(file)
    if (config.getCurrentCluster() === null) throw new Error(`--kubeconfig: ${file} names no current cluster`)
  } else {
    // loadFromDefault() would fall back to http://localhost:8080.
    if (process.env.KUBERNETES_SERVICE_HOST === undefined || !existsSync(SERVICE_ACCOUNT_TOKEN))
      throw new Error('this is no pod with a service account token: set --kubeconfig')
    config.loadFromCluster()
  }
  keepDispatcher(config)
  return config
}

/**
 * client-node 2.0.1 makes a new undici Agent, and so a new TLS connection, for every request
 * (`KubeConfig.applySecurityAuthentication` calls `createDispatcher`, which is private): 1000 handshakes for 1000
 * look-ups. Here one is kept until the TLS options change, as they do when the CA file is renewed.
 */
function keepDispatcher(config: KubeConfig): void {
  type Dispatcher = { close(): Promise<void> } | undefined
  type Create = (this: KubeConfig, cluster: unknown, tls: unknown) => Dispatcher
  const create = Reflect.get(config, 'createDispatcher') as Create
  let kept: { readonly key: string; readonly dispatcher: Dispatcher } | undefined
  const createDispatcher: Create = (cluster, tls) => {
    const key = JSON.stringify([cluster, tls])
    if (kept?.key === key) return kept.dispatcher
    const old = kept?.dispatcher
    kept = { key, dispatcher: create.call(config, cluster, tls) }
    // Requests under way finish on the old one; close() waits for them.
    old?.close().catch(() => undefined)
    return kept.dispatcher
  }
  Object.defineProperty(config, 'createDispatcher', { value: createDispatcher })
}
