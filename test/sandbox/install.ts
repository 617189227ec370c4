/**
 * pod2iam as an operator installs it: what helm renders of the chart with test/chart/sets/sandbox.yaml. test/chart/golden.test.ts
 * compares the file that is read here with it, so every end-to-end test is a test of the chart.
 */
import { readFileSync } from 'node:fs'
import { parse, parseAllDocuments } from 'yaml'

export const SYSTEM_NAMESPACE = 'pod2iam-system'
export const INJECTOR = 'pod2iam-injector'
export const NODE_GUARD = 'pod2iam-node-guard'
export const SIDECAR_IMAGE = 'pod2iam/sidecar:dev'
export const INJECTOR_IMAGE = 'pod2iam/injector:dev'
export const NODE_GUARD_IMAGE = 'pod2iam/node-guard:dev'

/** Arguments of node, before the broker's file on the command line of its container (node-guard/broker/README.md). */
export const BROKER_NODE_FLAGS = ['--max-semi-space-size=1', '--v8-pool-size=0'] as const

export type InstallSettings = {
  /** The path on this machine for a path of the images. */
  readonly localPath: (path: string) => string
  /** What helm rendered, if not with the values that all tests share. */
  readonly rendered?: string
  readonly firewallArgs?: readonly string[]
  readonly brokerArgs?: readonly string[]
  readonly brokerEnv?: Readonly<Record<string, string>>
  readonly injectorArgs?: readonly string[]
}

export type InstalledObject = {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; annotations?: Record<string, string> }
} & Record<string, unknown>

type Container = {
  name: string
  command?: string[]
  args?: string[]
  env?: { name: string; value?: string }[]
  readinessProbe?: { periodSeconds: number }
}

type ClientConfig = { url?: string; service?: Record<string, unknown>; caBundle?: string }

const RENDERED = new URL('../chart/golden/sandbox.yaml', import.meta.url)
let installed: string | undefined
const DOCKERFILE = new URL('../../Dockerfile', import.meta.url)
const FILES = new URL('../../charts/pod2iam/files/', import.meta.url)

/** Everything that `helm install --create-namespace` applies, in order. */
export function components(settings: InstallSettings): InstalledObject[] {
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: SYSTEM_NAMESPACE } }
  const objects = rendered(settings).filter(
    ({ metadata }) => metadata.annotations?.['helm.sh/hook'] === undefined,
  )
  return [namespace, ...objects.map((object) => adapted(object, settings))]
}

/** What `helm test` applies, in order. */
export function helmTests(settings: InstallSettings): InstalledObject[] {
  const weight = ({ metadata }: InstalledObject) => Number(metadata.annotations?.['helm.sh/hook-weight'])
  return rendered(settings)
    .filter(({ metadata }) => metadata.annotations?.['helm.sh/hook'] === 'test')
    .sort((one, other) => weight(one) - weight(other))
    .map((object) => adapted(object, settings))
}

/** The entry point of an image, as in the Dockerfile. */
export function entrypoint(target: 'sidecar' | 'injector' | 'node-guard'): string[] {
  const [, stage = ''] = readFileSync(DOCKERFILE, 'utf8').split(` AS ${target}\n`)
  const [, command] = /^ENTRYPOINT (\[.*\])$/m.exec(stage) ?? []
  if (command === undefined) throw new Error(`the Dockerfile has no entry point of ${target}`)
  return JSON.parse(command)
}

/** The mutating webhook configuration of the chart, with the CA bundle. */
export function webhooks(caBundle: string): InstalledObject & { webhooks: { clientConfig: ClientConfig }[] } {
  const object = parse(readFileSync(new URL('webhooks.yaml', FILES), 'utf8'))
  for (const { clientConfig } of object.webhooks)
    clientConfig.caBundle = Buffer.from(caBundle).toString('base64')
  return object
}

/**
 * From now on, this is installed in this process unless a test says otherwise: what helm renders for the Kubernetes that replaces
 * the stand-in, which may not have every kind.
 */
export function installInstead(rendered: string): void {
  installed = rendered
}

function rendered({
  rendered = installed ?? readFileSync(RENDERED, 'utf8'),
}: InstallSettings): InstalledObject[] {
  return parseAllDocuments(rendered).flatMap((document) => {
    const object: InstalledObject | null = document.toJS()
    return object === null ? [] : [object]
  })
}

/** The object with what differs on this machine: paths of programs, what a test requests, and probes that do not cost seconds. */
function adapted(object: InstalledObject, settings: InstallSettings): InstalledObject {
  const { firewallArgs = [], brokerArgs = [], brokerEnv = {}, injectorArgs = [] } = settings
  const further: Readonly<Record<string, readonly string[]>> = {
    firewall: firewallArgs,
    broker: brokerArgs,
    injector: injectorArgs,
  }
  for (const container of containersOf(object)) {
    const { name, command, args, readinessProbe } = container
    if (command !== undefined) container.command = command.map(settings.localPath)
    if (args !== undefined) container.args = overridden(args, further[name] ?? [])
    if (readinessProbe !== undefined) readinessProbe.periodSeconds = 1
    if (name === 'broker')
      container.env?.push(...Object.entries(brokerEnv).map(([name, value]) => ({ name, value })))
  }
  return object
}

function containersOf({ spec }: InstalledObject): Container[] {
  type PodSpec = { initContainers?: Container[]; containers?: Container[] }
  const { template, ...own } = (spec ?? {}) as PodSpec & { template?: { spec: PodSpec } }
  const { initContainers = [], containers = [] } = template?.spec ?? own
  return [...initContainers, ...containers]
}

/** The flags, with those of `further` in place of those with the same name, because no flag may be given twice. */
function overridden(args: readonly string[], further: readonly string[]): string[] {
  const name = (flag: string) => flag.replace(/=.*/s, '')
  const given = new Set(further.map(name))
  return [...args.filter((flag) => !given.has(name(flag))), ...further]
}
