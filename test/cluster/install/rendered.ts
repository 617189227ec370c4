/**
 * The chart in the sandbox. Its API server speaks neither helm's protobuf nor server-side apply, so what helm renders is applied
 * as plain objects; without helm, the recorded rendering of the tests is applied (test/sandbox/install.ts).
 */

import { peer } from '../../peers/peers.ts'
import { installed } from '../../previous-release/recorded.ts'
import { components } from '../../sandbox/install.ts'
import type { KubeClient } from '../../sandbox/kube/client/kube-client.ts'
import type { KubeObject } from '../../sandbox/kube/objects/objects.ts'
import { isApiError } from '../../sandbox/kube/objects/status.ts'
import type { Options } from '../options.ts'
import { objectsOf, template, withValues } from './helm.ts'
import type { Installation, Release, Values } from './installation.ts'

type PodSpec = { initContainers?: Container[]; containers: Container[] }
type Container = {
  name: string
  restartPolicy?: string
  command?: string[]
  readinessProbe?: { periodSeconds: number }
  lifecycle?: unknown
}

/** The path on this machine that replaces a path in the images of a release. */
export type LocalPath = (path: string, release: Release) => string

export function renderedInstallation(kube: KubeClient, options: Options, localPath: LocalPath): Installation {
  /** What was applied; the last entry is the present state. */
  const applied: KubeObject[][] = []
  const withHelm = peer('helm') !== undefined
  const render = async (values: Values, release: Release = 'this') => {
    const objects =
      withHelm && release === 'this'
        ? objectsOf(await withValues(options, values, (files) => template(options, files)))
        : kept(values, release === 'this' ? undefined : ofPreviousImages(options))
    for (const object of objects) adapt(object, (path) => localPath(path, release))
    return objects.filter(({ kind }) => kind !== 'Namespace')
  }
  const remove = async (object: KubeObject) => {
    const { namespace, name = '' } = object.metadata
    await kube.delete(resourceOf(object), name, namespace).catch((error: unknown) => {
      if (!isApiError(error, 404)) throw error
    })
  }
  /** Like helm: applies what is new or changed, then deletes what is no longer there. */
  const change = async (former: readonly KubeObject[], objects: readonly KubeObject[]) => {
    for (const object of objects) await kube.apply(await keepingWhatOthersWrote(kube, object))
    const names = new Set(objects.map(nameOf))
    for (const object of former) if (!names.has(nameOf(object))) await remove(object)
  }
  return {
    by: withHelm
      ? 'applying what helm renders'
      : 'applying test/chart/golden/sandbox.yaml, since helm is not installed',
    ...(withHelm ? {} : { fixedValues: 'helm is not installed, which renders the chart with other values' }),
    render,
    apply: async (values, release) => {
      const former = applied.at(-1) ?? []
      const objects = await render(values, release)
      applied.push(objects)
      await change(former, objects)
    },
    rollback: async () => {
      const [former, objects] = [applied.at(-1), applied.at(-2)]
      if (former === undefined || objects === undefined) throw new Error('there is nothing to roll back to')
      applied.push(objects)
      await change(former, objects)
    },
    uninstall: async () => {
      for (const object of (applied.splice(0).at(-1) ?? []).toReversed()) await remove(object)
    },
  }
}

/** A three-way merge does not touch what the chart does not name: here the bundle that the injector writes, and its Secret. */
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

/** What the previous release renders, with names of its own for its images. */
function ofPreviousImages({ previousTag }: Options): string {
  return installed().replace(/(pod2iam\/(?:sidecar|injector|node-guard)):dev\b/g, `$1:${previousTag}`)
}

/** @param rendered instead of the recorded rendering of this release */
function kept(
  { guard, injector, broker, policy, commonLabels }: Values,
  rendered: string | undefined,
): KubeObject[] {
  const annotations: Readonly<Record<string, unknown>> = {
    DaemonSet: guard.podAnnotations,
    Deployment: injector.podAnnotations,
  }
  const objects = components({
    localPath: (path) => path,
    ...(rendered === undefined ? {} : { rendered }),
    firewallArgs: [`--mode=${guard.mode}`],
    brokerArgs: [`--base-role-arn=${policy.baseRoleArn}`],
    injectorArgs: [`--base-role-arn=${policy.baseRoleArn}`],
    brokerEnv: Object.fromEntries(broker.extraEnv.map(({ name, value }) => [name, value])),
  }) as KubeObject[]
  for (const { kind, spec, metadata } of objects) {
    metadata.labels = { ...metadata.labels, ...commonLabels }
    type Workload = { replicas?: number; template?: { metadata: { annotations?: object }; spec: PodSpec } }
    const workload = (spec ?? {}) as Workload
    const { template } = workload
    if (template === undefined) continue
    if (kind === 'Deployment') workload.replicas = injector.replicas ?? workload.replicas ?? 1
    template.metadata.annotations = { ...template.metadata.annotations, ...(annotations[kind] ?? {}) }
    if (kind === 'DaemonSet' && guard.mode === 'remove') leaveFirewallAlone(template.spec)
  }
  return objects
}

/** As in the chart's mode `remove`: the broker has no address any more. */
function leaveFirewallAlone(spec: PodSpec): void {
  const { restartPolicy: _, ...firewall } = spec.initContainers?.find(({ name }) => name === 'firewall') ?? {
    name: 'firewall',
  }
  spec.containers = [firewall]
  delete spec.initContainers
}

/** Programs have other paths on this machine, probes must not cost seconds, and the sandbox has no lifecycle hooks. */
function adapt({ spec }: KubeObject, localPath: (path: string) => string): void {
  const { template } = (spec ?? {}) as { template?: { spec: PodSpec } }
  for (const container of [...(template?.spec.initContainers ?? []), ...(template?.spec.containers ?? [])]) {
    if (container.command !== undefined) container.command = container.command.map(localPath)
    if (container.readinessProbe !== undefined) container.readinessProbe.periodSeconds = 1
    delete container.lifecycle
  }
}

function nameOf({ kind, metadata }: KubeObject): string {
  return `${kind} ${metadata.namespace ?? ''}/${metadata.name}`
}

function resourceOf({ kind }: KubeObject): string {
  const lower = kind.toLowerCase()
  return lower.endsWith('y') ? `${lower.slice(0, -1)}ies` : `${lower}s`
}
