/** The cluster of a kubeconfig: helm installs, commands run through the API's exec subresource. */
import { KubeConfig } from '@kubernetes/client-node'
import { KubeClient } from '../../sandbox/kube/kube-client.ts'
import { helmInstallation } from '../install/helm.ts'
import type { Options } from '../options.ts'
import type { ClusterAccess } from './access.ts'
import { execIn } from './exec.ts'
import { kubeConfigTransport } from './kubeconfig-transport.ts'

/** @throws Error with a sentence when there is no kubeconfig or no helm */
export function openCluster(options: Options): ClusterAccess {
  const config = new KubeConfig()
  if (options.kubeconfig === undefined) config.loadFromDefault()
  else config.loadFromFile(options.kubeconfig)
  if (options.context !== undefined) config.setCurrentContext(options.context)
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
