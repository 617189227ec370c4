/** The chart as real helm renders it, for every set of values in sets/. */
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { minorOf } from '../peers/kubernetes-release.ts'
import { needsPeer, peer } from '../peers/peers.ts'
import { judgingMinor } from '../sandbox/kube/client/client.ts'

export const CHART = fileURLToPath(new URL('../../charts/pod2iam', import.meta.url))
export const SETS_DIRECTORY = fileURLToPath(new URL('sets/', import.meta.url))
export const RELEASE_NAMESPACE = 'pod2iam-system'
export const needsHelm = needsPeer('helm')

/** Both major versions that the chart supports, under the names that .ci/peers gives them. */
export const HELMS = ['helm', 'helm3'] as const
export type Helm = (typeof HELMS)[number]

export type Rendered = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }
} & Record<string, unknown>

/** The API versions that a cluster has besides Kubernetes, for the sets that need them; helm gets them as flags, since there is no cluster. */
const CAPABILITIES: Readonly<Record<string, readonly string[]>> = {
  cilium: [
    '--api-versions=cilium.io/v2/CiliumClusterwideNetworkPolicy,cilium.io/v2/CiliumCIDRGroup',
    '--kube-version=1.34.0',
  ],
  'cilium-old': [
    '--api-versions=cilium.io/v2/CiliumClusterwideNetworkPolicy,cilium.io/v2alpha1/CiliumCIDRGroup',
    '--kube-version=1.34.0',
  ],
  'kubernetes-1.29': ['--kube-version=1.29.0'],
}
const KUBERNETES = ['--kube-version=1.34.0']

/** Values files that are part of the chart, for users of kube2iam and for large clusters. */
const BROUGHT: readonly string[] = ['ha', 'kube2iam']

/** Names of the value sets: files in sets/, and the values files of the chart. */
export const SETS: readonly string[] = [
  ...readdirSync(SETS_DIRECTORY).map((file) => file.replace(/\.yaml$/, '')),
  ...BROUGHT,
].sort()

/** Runs helm, and throws its output if it fails. */
export function helm(...args: readonly string[]): string {
  return helmOf('helm', ...args)
}

/** Runs helm of one of the major versions. */
export function helmOf(name: Helm, ...args: readonly string[]): string {
  const command = peer(name)
  if (command === undefined) throw new Error(`${name} is not installed (.ci/peers brings it)`)
  return execFileSync(command, args, {
    encoding: 'utf8',
    timeout: 180_000,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** The flags with which a set is rendered, linted or installed. */
export function flagsOf(set: string): string[] {
  const file = BROUGHT.includes(set) ? `${CHART}/values-${set}.yaml` : `${SETS_DIRECTORY}${set}.yaml`
  return ['--values', file, ...(CAPABILITIES[set] ?? KUBERNETES)]
}

/**
 * The additional flags for a Kubernetes of this version: before 1.30 the startup taint comes without its policy, which the chart
 * refuses unless the operator accepts it.
 */
export function flagsOn(version: string): string[] {
  return minorOf(version) < 30 ? ['--set', 'injector.startupTaintWithoutPolicy=true'] : []
}

const rendered = new Map<string, string>()

/** Everything that is rendered for a set, as text; rendered once per process. */
export function template(set: string): string {
  const text = rendered.get(set) ?? render(set)
  rendered.set(set, text)
  return text
}

/** The same again, with further flags. */
export function render(set: string, ...args: readonly string[]): string {
  return renderBy('helm', set, ...args)
}

/** The same by helm of one of the major versions. */
export function renderBy(name: Helm, set: string, ...args: readonly string[]): string {
  const flags = [...flagsOf(set), ...args]
  return helmOf(name, 'template', 'pod2iam', CHART, '--namespace', RELEASE_NAMESPACE, ...flags)
}

/** The same for a Kubernetes of this version. */
export function renderFor(version: string, set: string): string {
  return render(set, '--kube-version', version, ...flagsOn(version))
}

/** The same for the Kubernetes that the tests of this process run against, with further arguments. */
export function renderHere(set: string, ...args: readonly string[]): string {
  const minor = judgingMinor()
  if (minor === undefined) return render(set, ...args)
  const version = `1.${minor}.0`
  return render(set, '--kube-version', version, ...flagsOn(version), ...args)
}

/** The objects in rendered text. */
export function objectsOf(text: string): Rendered[] {
  return parseAllDocuments(text).flatMap((document) => {
    const object: Rendered | null = document.toJS()
    return object === null ? [] : [object]
  })
}

/** The object of a kind, or of a kind and a name; throws if there is none. */
export function find(objects: readonly Rendered[], kind: string, name?: string): Rendered {
  const found = objects.find(
    (object) => object.kind === kind && (name ?? object.metadata.name) === object.metadata.name,
  )
  if (found === undefined) throw new Error(`no ${kind} ${name ?? ''} was rendered`)
  return found
}
