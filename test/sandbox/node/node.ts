/** A node on a machine whose network exists already; kubelet stand-in and scheduler join a cluster. */
import type { KubeClient } from '../kube/client/client.ts'
import { type BackOff, SANDBOX_BACK_OFF } from './backoff.ts'
import { createDialer } from './dialer.ts'
import { Kubelet } from './kubelet.ts'
import type { Machine } from './machine.ts'
import type { Network } from './network.ts'
import type { Images, NodeContext } from './node-context.ts'
import { Pods } from './pods.ts'
import { startScheduler } from './scheduler.ts'
import { ADDRESSES } from './topology.ts'

export type NodeOptions = {
  /** Default `ip-10-0-0-10.eu-west-1.compute.internal`. */
  readonly name?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly providerId?: string
  readonly images?: Images
  /** Directories of this machine that containers see, read-only, in addition to `/usr` and `/bin`. */
  readonly paths?: readonly string[]
  /** Host name → address for `/etc/hosts` of pods. */
  readonly hosts?: Readonly<Record<string, string>>
  readonly backOff?: BackOff
}

export type SandboxNode = {
  readonly name: string
  /** The table of images; entries may be added at any time. */
  readonly images: Images
  readonly pods: Pods
  /** podIPs are not reported until `releaseAddresses`: a kubelet's status can be late by minutes. */
  readonly holdAddresses: () => void
  readonly releaseAddresses: () => void
  readonly close: () => void
}

const DEFAULT_NODE_NAME = 'ip-10-0-0-10.eu-west-1.compute.internal'

/**
 * Registers the node and begins to run pods.
 *
 * @param apiServer the address at which pods reach the API server
 */
export async function startNode(
  machine: Machine,
  network: Network,
  kube: KubeClient,
  apiServer: { readonly host: string; readonly port: number },
  options: NodeOptions = {},
): Promise<SandboxNode> {
  const { name = DEFAULT_NODE_NAME, images = {}, providerId } = options
  const context: NodeContext = {
    machine,
    network,
    kube,
    name,
    addresses: ADDRESSES.node,
    labels: options.labels ?? {},
    ...(providerId === undefined ? {} : { providerId }),
    images,
    paths: options.paths ?? [],
    hosts: { 'kubernetes.default.svc': apiServer.host, ...options.hosts },
    serviceEnv: serviceEnv(apiServer.host, apiServer.port),
    dial: createDialer(machine),
    backOff: options.backOff ?? SANDBOX_BACK_OFF,
  }
  const kubelet = new Kubelet(context)
  await kubelet.start()
  const scheduler = startScheduler(kube, name)
  return {
    name,
    images,
    pods: new Pods(kube, kubelet),
    holdAddresses: () => kubelet.holdAddresses(),
    releaseAddresses: () => kubelet.releaseAddresses(),
    close: () => {
      scheduler.close()
      kubelet.close()
    },
  }
}

/** The variables that the kubelet sets in every container for the service `kubernetes`. */
function serviceEnv(host: string, port: number): Record<string, string> {
  const url = `tcp://${host}:${port}`
  return {
    KUBERNETES_SERVICE_HOST: host,
    KUBERNETES_SERVICE_PORT: String(port),
    KUBERNETES_SERVICE_PORT_HTTPS: String(port),
    KUBERNETES_PORT: url,
    [`KUBERNETES_PORT_${port}_TCP`]: url,
  }
}
