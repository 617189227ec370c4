/** A sandbox with pod2iam installed and ready: the starting point of the demo and the end-to-end tests. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { peerDirectories } from '../peers/peers.ts'
import { until } from '../support/until.ts'
import {
  ADDRESSES,
  createSandbox,
  type Images,
  isReady,
  type KubeObject,
  type Pod,
  type Sandbox,
  type SandboxOptions,
  trust,
} from './index.ts'
import {
  components,
  entrypoint,
  INJECTOR_IMAGE,
  type InstallSettings,
  NODE_GUARD_IMAGE,
  SIDECAR_IMAGE,
  SYSTEM_NAMESPACE,
} from './install.ts'

/** An image that does nothing until it gets a signal to end. */
export const IDLE_IMAGE = 'registry.example/idle:1'

export type ClusterOptions = SandboxOptions &
  Pick<InstallSettings, 'rendered' | 'firewallArgs' | 'brokerArgs' | 'brokerEnv' | 'injectorArgs'>

export type Cluster = Sandbox & {
  /** `namespace/name` of the node guard's current pod. */
  readonly guard: () => Promise<string>
  readonly injector: () => Promise<string>
  /** Creates an IAM role that trusts the node role; returns its ARN. */
  readonly role: (nameOrArn: string, options?: { externalId?: string }) => Promise<string>
  /** Creates a namespace, opted in unless `label` is null, whose pods may use these roles (kube2iam's globs). */
  readonly namespace: (
    name: string,
    options?: { label?: 'enabled' | 'all' | null; allowed?: readonly string[]; annotations?: Annotations },
  ) => Promise<void>
  /** Creates a pod that idles; returns `namespace/name`. Throws the admission's sentence when it is refused. */
  readonly pod: (name: string, options?: PodOptions) => Promise<string>
  /** Every line that every container of the cluster has printed so far. */
  readonly allLogs: () => Promise<string>
}

type Annotations = Readonly<Record<string, string>>

type PodOptions = {
  readonly annotations?: Annotations
  /** Default: the idle image. */
  readonly containers?: readonly Record<string, unknown>[]
  /** Merged into the pod's spec. */
  readonly spec?: Readonly<Record<string, unknown>>
}

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url))
/** The file that the sidecar's image has besides the bundle: its postStart hook. */
export const SIDECAR_FILES = {
  '/pod2iam/wait-started': fileURLToPath(new URL('../../sidecar/wait-started', import.meta.url)),
}
/** The names that the files have in the images, for programs that are run in a container: `kubectl exec`. */
const filesOf = (...bundles: readonly string[]) => ({
  '/nodejs/bin/node': process.execPath,
  ...Object.fromEntries(bundles.map((name) => [`/pod2iam/${name}`, `${DIST}${name}`])),
})

/** Starts a cluster (about three seconds). Needs `dist/`. */
export async function createCluster(options: ClusterOptions = {}): Promise<Cluster> {
  if (!existsSync(`${DIST}broker.cjs`)) throw new Error('dist/ is not built: run `npm run build` first')
  const sandbox = await createSandbox({
    ...options,
    images: { ...productImages(), ...options.images },
    paths: [...peerDirectories(), ...(options.paths ?? [])],
  })
  try {
    await install(sandbox, options)
    return { ...sandbox, ...conveniences(sandbox) }
  } catch (error) {
    await sandbox.close()
    throw error
  }
}

function productImages(): Images {
  const run = (target: Parameters<typeof entrypoint>[0]) => ({ command: entrypoint(target).map(localPath) })
  return {
    [SIDECAR_IMAGE]: { ...run('sidecar'), files: SIDECAR_FILES },
    [INJECTOR_IMAGE]: { ...run('injector'), files: filesOf('injector.cjs', 'pod2iam.cjs') },
    [NODE_GUARD_IMAGE]: { ...run('node-guard'), files: filesOf('firewall.cjs', 'broker.cjs') },
    [IDLE_IMAGE]: { command: ['sleep', 'infinity'] },
  }
}

/** The path on this machine of a program in the images. */
export function localPath(path: string): string {
  return path === '/nodejs/bin/node' ? process.execPath : path.replace(/^\/pod2iam\//, DIST)
}

/** Applies everything and waits until it is ready. */
async function install(sandbox: Sandbox, options: ClusterOptions): Promise<void> {
  const objects = components({
    ...options,
    localPath,
    brokerEnv: { AWS_ENDPOINT_URL_STS: `http://${ADDRESSES.vpc[0]}`, ...options.brokerEnv },
  })
  for (const object of objects) await sandbox.kube.apply(object)
  await Promise.all(['injector', 'node-guard'].map((component) => readyPod(sandbox, component)))
  await sandbox.api.webhooksReached()
}

async function readyPod(sandbox: Sandbox, component: string): Promise<string> {
  const name = await podOf(sandbox, component)
  await sandbox.pods.waitFor(name, isReady)
  return name
}

/** The one pod of a component that is not being deleted; waits until the controller has created it. */
async function podOf({ kube }: Sandbox, component: string): Promise<string> {
  const labelSelector = `app.kubernetes.io/component=${component}`
  const name = await until(`a pod of ${component}`, async () => {
    const { items } = await kube.list('pods', { namespace: SYSTEM_NAMESPACE, labelSelector })
    return items.find(({ metadata }) => metadata.deletionTimestamp === undefined)?.metadata.name
  })
  return `${SYSTEM_NAMESPACE}/${name}`
}

function conveniences(sandbox: Sandbox): Omit<Cluster, keyof Sandbox> {
  const { aws, kube, pods } = sandbox
  return {
    guard: () => podOf(sandbox, 'node-guard'),
    injector: () => podOf(sandbox, 'injector'),
    role: (arn, options) =>
      aws.putRole({ arn, trustPolicy: trust({ principal: aws.config.nodeRoleArn, ...options }) }),
    namespace: async (name, { label = 'enabled', allowed, annotations } = {}) => {
      await kube.create({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: {
          name,
          labels: label === null ? {} : { 'pod2iam.dev/injection': label },
          annotations: {
            ...(allowed === undefined ? {} : { 'iam.amazonaws.com/allowed-roles': JSON.stringify(allowed) }),
            ...annotations,
          },
        },
      })
    },
    pod: async (name, options = {}) => {
      await kube.create(podObject(name, options))
      return name
    },
    allLogs: async () => {
      const { items } = await kube.list<KubeObject & Pod>('pods')
      return items
        .flatMap(({ metadata, spec }) =>
          [...(spec.initContainers ?? []), ...spec.containers].map((container) =>
            logOf(pods, `${metadata.namespace}/${metadata.name}`, container.name),
          ),
        )
        .join('\n')
    },
  }
}

/** A pod that is not on the node, or whose container has not started, has no output. */
function logOf(pods: Sandbox['pods'], pod: string, container: string): string {
  try {
    return pods.logs(pod, container)
  } catch {
    return ''
  }
}

function podObject(fullName: string, { annotations = {}, containers, spec = {} }: PodOptions): KubeObject {
  const [namespace, name] = fullName.includes('/') ? fullName.split('/') : ['default', fullName]
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: namespace ?? 'default', name: name ?? fullName, annotations },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: containers ?? [{ name: 'app', image: IDLE_IMAGE }],
      ...spec,
    },
  }
}
