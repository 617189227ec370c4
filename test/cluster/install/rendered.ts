/**
 * The chart in the sandbox. Its API server speaks neither helm's protobuf nor server-side apply, so what helm renders is applied
 * as plain objects; without helm, what is kept of its rendering for the tests (test/sandbox/install.ts).
 */
import { peer } from '../../peers.ts'
import { components } from '../../sandbox/install.ts'
import type { KubeClient } from '../../sandbox/kube/kube-client.ts'
import type { KubeObject } from '../../sandbox/kube/objects.ts'
import { isApiError } from '../../sandbox/kube/status.ts'
import type { Options } from '../options.ts'
import { objectsOf, template, withValues } from './helm.ts'
import type { Installation, Values } from './installation.ts'

type PodSpec = { initContainers?: Container[]; containers: Container[] }
type Container = {
  name: string
  restartPolicy?: string
  command?: string[]
  readinessProbe?: { periodSeconds: number }
  lifecycle?: unknown
}

/**
 * @param localPath where a path of the images is on this machine
 */
export function renderedInstallation(
  kube: KubeClient,
  options: Options,
  localPath: (path: string) => string,
): Installation {
  let applied: KubeObject[] = []
  const withHelm = peer('helm') !== undefined
  const render = async (values: Values) => {
    const objects = withHelm
      ? objectsOf(await withValues(options, values, (files) => template(options, files)))
      : kept(values)
    for (const object of objects) adapt(object, localPath)
    return objects.filter(({ kind }) => kind !== 'Namespace')
  }
  return {
    by: withHelm
      ? 'applying what helm renders'
      : 'applying test/chart/golden/sandbox.yaml, since helm is not installed',
    render,
    apply: async (values) => {
      applied = await render(values)
      for (const object of applied) await kube.apply(await keepingWhatOthersWrote(kube, object))
    },
    uninstall: async () => {
      for (const object of applied.splice(0).reverse()) {
        const { namespace, name = '' } = object.metadata
        await kube.delete(resourceOf(object), name, namespace).catch((error: unknown) => {
          if (!isApiError(error, 404)) throw error
        })
      }
    },
  }
}

/** A three-way merge leaves alone what the chart does not name: here the bundle that the injector writes, and its Secret. */
async function keepingWhatOthersWrote(kube: KubeClient, object: KubeObject): Promise<KubeObject> {
  const { name = '', namespace } = object.metadata
  const there = await kube.find(resourceOf(object), name, namespace)
  if (there === undefined) return object
  if (object.kind === 'Secret') return there
  type Webhooks = { webhooks?: { clientConfig: { caBundle?: string } }[] }
  const bundle = (there as Webhooks).webhooks?.[0]?.clientConfig.caBundle
  for (const { clientConfig } of (object as Webhooks).webhooks ?? [])
    if (bundle !== undefined) clientConfig.caBundle = bundle
  return object
}

function kept({ guard, injector, broker, policy, commonLabels }: Values): KubeObject[] {
  const annotations: Readonly<Record<string, unknown>> = {
    DaemonSet: guard.podAnnotations,
    Deployment: injector.podAnnotations,
  }
  const objects = components({
    localPath: (path) => path,
    firewallArgs: [`--mode=${guard.mode}`],
    brokerArgs: [`--base-role-arn=${policy.baseRoleArn}`],
    injectorArgs: [`--base-role-arn=${policy.baseRoleArn}`],
    brokerEnv: Object.fromEntries(broker.extraEnv.map(({ name, value }) => [name, value])),
  }) as KubeObject[]
  for (const { kind, spec, metadata } of objects) {
    metadata.labels = { ...metadata.labels, ...commonLabels }
    const { template } = (spec ?? {}) as { template?: { metadata: { annotations?: object }; spec: PodSpec } }
    if (template === undefined) continue
    template.metadata.annotations = { ...template.metadata.annotations, ...(annotations[kind] ?? {}) }
    if (kind === 'DaemonSet' && guard.mode === 'remove') leaveFirewallAlone(template.spec)
  }
  return objects
}

/** As the chart's mode `remove`: the broker has no address any more. */
function leaveFirewallAlone(spec: PodSpec): void {
  const { restartPolicy: _, ...firewall } = spec.initContainers?.find(({ name }) => name === 'firewall') ?? {
    name: 'firewall',
  }
  spec.containers = [firewall]
  delete spec.initContainers
}

/** Programs lie elsewhere on this machine; no second is lost on probes; the sandbox knows no lifecycle hooks. */
function adapt({ spec }: KubeObject, localPath: (path: string) => string): void {
  const { template } = (spec ?? {}) as { template?: { spec: PodSpec } }
  for (const container of [...(template?.spec.initContainers ?? []), ...(template?.spec.containers ?? [])]) {
    if (container.command !== undefined) container.command = container.command.map(localPath)
    if (container.readinessProbe !== undefined) container.readinessProbe.periodSeconds = 1
    delete container.lifecycle
  }
}

function resourceOf({ kind }: KubeObject): string {
  const lower = kind.toLowerCase()
  return lower.endsWith('y') ? `${lower.slice(0, -1)}ies` : `${lower}s`
}
