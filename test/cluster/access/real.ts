/** The cluster of a kubeconfig: helm installs, commands run through the API's exec subresource. */
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { KubeConfig } from '@kubernetes/client-node'
import { KubeClient } from '../../sandbox/kube/client/kube-client.ts'
import { helmInstallation } from '../install/helm.ts'
import type { Options } from '../options.ts'
import type { ClusterAccess } from './access.ts'
import { execIn } from './exec.ts'
import { kubeConfigTransport } from './kubeconfig-transport.ts'

/** @throws Error with a sentence when there is no kubeconfig or no helm */
export function openCluster(options: Options): ClusterAccess {
  const config = readKubeconfig(options)
  const kube = new KubeClient({ caPem: '' }, {}, kubeConfigTransport(config))
  return {
    title: `${config.getCurrentContext()} (${config.getCurrentCluster()?.server})`,
    kube,
    installation: helmInstallation(options),
    nodeOfImages: '/nodejs/bin/node',
    pollMs: 500,
    exec: execIn(config),
    close: async () => kube.close(),
  }
}

/** Where pods find their service account. */
const IN_CLUSTER = '/var/run/secrets/kubernetes.io/serviceaccount/token'

/**
 * The kubeconfig that the options or the environment name. Without any, client-node would go on with localhost:8080.
 *
 * @param env the environment; `HOME` and `KUBECONFIG` count
 * @throws Error with a sentence that names the setting
 */
export function readKubeconfig(
  { kubeconfig, context }: Pick<Options, 'kubeconfig' | 'context'>,
  env: Readonly<Record<string, string | undefined>> = process.env,
): KubeConfig {
  const { setting, files } = kubeconfigFiles(kubeconfig, env)
  const missing = files.find((file) => !existsSync(file))
  if (missing !== undefined) throw new Error(`${setting} names ${missing}, which is not there`)
  if (files.length === 0 && !existsSync(IN_CLUSTER))
    throw new Error(
      'there is no kubeconfig: pass --kubeconfig, or set KUBECONFIG; -- --dry needs no cluster, it takes the sandbox',
    )
  const config = new KubeConfig()
  try {
    if (kubeconfig === undefined) config.loadFromDefault()
    else config.loadFromFile(kubeconfig)
  } catch (error) {
    throw new Error(`${setting} cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
  if (context !== undefined && config.getContextObject(context) === null)
    throw new Error(`--context names ${context}, which ${setting} does not have`)
  if (context !== undefined) config.setCurrentContext(context)
  return config
}

function kubeconfigFiles(kubeconfig: string | undefined, env: Readonly<Record<string, string | undefined>>) {
  if (kubeconfig !== undefined) return { setting: '--kubeconfig', files: [kubeconfig] }
  const named = (env.KUBECONFIG ?? '').split(delimiter).filter((file) => file !== '')
  if (named.length > 0) return { setting: 'KUBECONFIG', files: named }
  const file = join(env.HOME ?? homedir(), '.kube', 'config')
  return { setting: file, files: existsSync(file) ? [file] : [] }
}
