/**
 * The sandbox: AWS, a Kubernetes control plane and a node on one machine, each in network namespaces of its own.
 * See README.md for what it imitates and what it does not.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { hostPort } from '../../common/addresses.ts'
import { Aws, type AwsOptions, REAL_IMDS } from './aws/client.ts'
import { ApiServer, type ApiServerOptions, type KubeClient } from './kube/client/client.ts'
import { KUBELET_SOCKET } from './kube/server/protocol.ts'
import { serveKubelet } from './node/kubelet-server.ts'
import type { LayoutName } from './node/layouts.ts'
import { type Machine, openMachine, SANDBOX_DIR } from './node/machine.ts'
import { USERNS_LIMITS } from './node/namespace-support.ts'
import { createNetwork, type PodNetwork, runScript } from './node/network.ts'
import { type NodeOptions, type SandboxNode, startNode } from './node/node.ts'
import type { Pods } from './node/pods.ts'
import { type ExecOptions, type ExecResult, execIn, type SpawnOptions, spawnIn } from './node/process.ts'
import { deviceScript } from './node/rootfs.ts'
import { ADDRESSES, AWS_NETWORK, type Topology } from './node/topology.ts'

export * from './aws/client.ts'
export { ApiError, ApiServer, isApiError, KubeClient, type KubeObject } from './kube/client/client.ts'
export { type NamespaceSupport, namespaceSupport, needsNamespaces } from './node/namespace-support.ts'
export type { Image, Images } from './node/node-context.ts'
export type { Container, ContainerStatus, Pod } from './node/pod.ts'
export { container, containerStatus, describePod, hasPhase, isGone, isReady } from './node/pod-predicates.ts'
export type { TimelineEvent } from './node/timeline.ts'
export { ADDRESSES, type Topology } from './node/topology.ts'

/** The addresses of the API server in the sandbox. */
export const API_SERVER = { host: ADDRESSES.apiServer[0], port: 6443 } as const

export type SandboxOptions = Omit<NodeOptions, 'providerId'> & {
  /** How pods are connected; default `routed`, as with the AWS VPC CNI. */
  readonly topology?: Topology
  /** A CNI's layout of the node's network, instead of a plain topology. */
  readonly layout?: LayoutName
  /** Topology bridge: whether bridged packets pass the node's IP hooks (`br_netfilter`); default true. */
  readonly bridgeNetfilter?: boolean
  readonly aws?: Omit<AwsOptions, 'spawn' | 'directory' | 'imds' | 'sts'>
  readonly api?: Partial<Omit<ApiServerOptions, 'spawn' | 'directory' | 'listen'>>
}

export type Sandbox = {
  /** `userns`: created without root; `limits` says what differs. */
  readonly kind: 'root' | 'userns'
  readonly limits: readonly string[]
  readonly aws: Aws
  readonly api: ApiServer
  /** Cluster admin; works from this process. */
  readonly kube: KubeClient
  readonly node: SandboxNode
  readonly pods: Pods
  readonly machine: Machine
  /**
   * Runs a command to its end.
   *
   * @param where `node` (the host's network), `aws` (another host of the VPC), or a pod's network (`pods.network(…)`)
   */
  readonly exec: (where: string, argv: readonly string[], options?: ExecOptions) => Promise<ExecResult>
  /** Starts a process there; it ends at the latest with the sandbox. */
  readonly spawn: (where: string, argv: readonly string[], options?: SpawnOptions) => ChildProcess
  /** A network namespace connected as a pod's is, without a pod. */
  readonly addNetwork: () => Promise<PodNetwork>
  readonly removeNetwork: (network: PodNetwork) => Promise<void>
  /** Ends everything; may be called again. */
  readonly close: () => Promise<void>
}

const PROJECT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

/**
 * Starts a sandbox (about a second). It ends with `close()`, and also when this process ends, for whatever reason.
 *
 * @throws if namespaces are not possible: see `namespaceSupport()`
 */
export async function createSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const machine = await openMachine()
  const closers: (() => Promise<void> | void)[] = [() => machine.close()]
  const close = async () => {
    for (const step of closers.splice(0).reverse()) await step()
  }
  const spawn = (where: string, argv: readonly string[], how?: SpawnOptions) =>
    spawnIn(machine, where, argv, how)
  try {
    const [network] = await Promise.all([createNetwork(machine, options), runScript(machine, deviceScript())])
    const [aws, api] = await startServices(machine, options, closers)
    const node = await startNode(machine, network, api.admin, API_SERVER, nodeOptions(aws, options))
    closers.push(node.close)
    const kubelet = await serveKubelet(join(api.directory, KUBELET_SOCKET), { machine, pods: node.pods })
    closers.push(() => void kubelet.close())
    return {
      kind: machine.kind,
      limits: machine.kind === 'userns' ? USERNS_LIMITS : [],
      aws,
      api,
      kube: api.admin,
      node,
      pods: node.pods,
      machine,
      exec: (where, argv, how) => execIn(machine, where, argv, how),
      spawn,
      addNetwork: network.addPod,
      removeNetwork: network.removePod,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** Starts AWS and the API server at the same time; both keep their files on the machine's tmpfs, which is removed with it. */
async function startServices(
  machine: Machine,
  options: SandboxOptions,
  closers: (() => Promise<void> | void)[],
): Promise<[Aws, ApiServer]> {
  const inAws = (argv: readonly string[], how?: SpawnOptions) => spawnIn(machine, AWS_NETWORK, argv, how)
  const directory = machine.path(SANDBOX_DIR)
  const [aws, api] = await Promise.allSettled([
    Aws.start({
      ...options.aws,
      directory,
      imds: REAL_IMDS,
      sts: ADDRESSES.vpc.map((address) => hostPort(address, 80)),
      spawn: (argv) => inAws(argv),
    }),
    ApiServer.start({
      ...options.api,
      directory: `${directory}/api`,
      listen: [API_SERVER, { host: ADDRESSES.apiServer[1], port: API_SERVER.port }],
      spawn: (command, args, { stdio = 'pipe' }) => inAws([command, ...args], { stdio }),
    }),
  ])
  if (aws.status === 'fulfilled') closers.push(() => aws.value.stop())
  if (api.status === 'fulfilled') closers.push(() => api.value.stop())
  if (aws.status === 'rejected') throw aws.reason
  if (api.status === 'rejected') throw api.reason
  return [aws.value, api.value]
}

function nodeOptions({ config }: Aws, options: SandboxOptions): NodeOptions {
  const { availabilityZone, region, instanceId, instanceType } = config
  return {
    ...options,
    name: options.name ?? `ip-${config.localIpv4.replaceAll('.', '-')}.${region}.compute.internal`,
    labels: {
      'topology.kubernetes.io/region': region,
      'topology.kubernetes.io/zone': availabilityZone,
      'node.kubernetes.io/instance-type': instanceType,
      ...options.labels,
    },
    providerId: `aws:///${availabilityZone}/${instanceId}`,
    // The checkout (bundles, the Node of node_modules) and the Node that runs this process.
    paths: [...new Set([PROJECT, ...nodeDirectory(), ...(options.paths ?? [])])],
    hosts: { [`sts.${region}.amazonaws.com`]: ADDRESSES.vpc[0], ...options.hosts },
  }
}

/** The directory of this process's Node, unless containers see it anyway. */
function nodeDirectory(): string[] {
  const { execPath } = process
  return execPath.startsWith('/usr/') || execPath.startsWith(`${PROJECT}/`)
    ? []
    : [dirname(dirname(execPath))]
}

export type LoopbackSandbox = {
  readonly kind: 'loopback'
  readonly limits: readonly string[]
  readonly aws: Aws
  readonly api: ApiServer
  readonly kube: KubeClient
  readonly close: () => Promise<void>
}

/** AWS and the API server on free ports of 127.0.0.1, for machines without namespaces: no node, so no pods. */
export async function createLoopbackSandbox(
  options: Pick<SandboxOptions, 'aws' | 'api'> = {},
): Promise<LoopbackSandbox> {
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-'))
  const remove = () => rmSync(directory, { recursive: true, force: true })
  const [aws, api] = await Promise.allSettled([
    Aws.start({ ...options.aws, directory }),
    ApiServer.start({ ...options.api, directory: join(directory, 'api') }),
  ])
  const close = async () => {
    await Promise.all([aws, api].map((one) => (one.status === 'fulfilled' ? one.value.stop() : undefined)))
    remove()
  }
  if (aws.status === 'rejected' || api.status === 'rejected') {
    await close()
    throw aws.status === 'rejected' ? aws.reason : (api as PromiseRejectedResult).reason
  }
  return {
    kind: 'loopback',
    limits: ['no network namespaces: no node and no pods, and nothing listens on the metadata address'],
    aws: aws.value,
    api: api.value,
    kube: api.value.admin,
    close,
  }
}
