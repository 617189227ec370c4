/**
 * Replicas of the injector as in a rolling upgrade: real processes, each with a pod in the API server that shows how it was started,
 * behind the Service that the webhook configurations name. The objects are the chart's own; the test plays the kubelet.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { components, INJECTOR, type InstalledObject, SYSTEM_NAMESPACE } from '../sandbox/install.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { podAddress } from '../sandbox/kube/client/test-server.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import type { Dict } from './fixtures.ts'

/** A release of the injector: its program, and the rendered objects of its chart, by default those of this checkout. */
export type Release = { readonly main: string; readonly rendered?: string }

const THIS: Release = { main: fileURLToPath(new URL('../../injector/main.ts', import.meta.url)) }
/** Flags of the chart that are left out: the built-in authority takes some time, and certificate files serve as well here. */
const NOT_HERE =
  /^--(?:port|health-port|ca-secret|service-name|webhook-configuration|startup-taint|node-guard-(?:namespace|selector))=/
const NODE = 'node-1'
const KINDS = ['ServiceAccount', 'ClusterRole', 'ClusterRoleBinding', 'Service']

export type Replica = {
  readonly name: string
  /** The port of its webhooks. */
  readonly port: number
  /** The lines of its log so far. */
  readonly log: () => readonly Dict[]
  readonly metric: (name: string, labels: string) => Promise<number | undefined>
  /** Waits until it is ready, and adds it to the Service. */
  readonly ready: () => Promise<void>
  /** Ends it like `kubectl delete`: it leaves the Service at once and gets SIGTERM, and its pod is removed when the process has ended. */
  readonly stop: (whileTerminating?: () => Promise<void>) => Promise<void>
}

export type Rollout = {
  readonly api: ApiServer
  /** @param flags replace the chart's flags of the same names */
  readonly start: (flags?: readonly string[], release?: Release) => Promise<Replica>
  readonly close: () => Promise<void>
}

/** @param roleKeys keys of the role annotation for which the webhooks are called */
export async function rollout(roleKeys: readonly string[]): Promise<Rollout> {
  const directory = await mkdtemp(join(tmpdir(), 'p2r-'))
  const api = await ApiServer.start({ directory, controllers: false })
  const [cert, key] = [join(directory, 'tls.crt'), join(directory, 'tls.key')]
  const pair = await api.issueCertificate([`${INJECTOR}.${SYSTEM_NAMESPACE}.svc`])
  await Promise.all([writeFile(cert, pair.certPem), writeFile(key, pair.keyPem)])
  await api.admin.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: NODE } })
  for (const object of installed()) await api.admin.create(prepared(object, api.caPem, roleKeys))
  const { token } = await api.admin.createToken(SYSTEM_NAMESPACE, INJECTOR)
  const kubeconfig = await api.kubeconfig(token)
  const children: ChildProcess[] = []
  let count = 0
  return {
    api,
    async start(flags = [], release = THIS) {
      const name = `${INJECTOR}-${++count}`
      const [port, health] = [await freePort(), await freePort()]
      const pod = podOf(name, port, health, flags, release)
      const { args } = pod.spec.containers[0] ?? assert.fail('no container')
      await api.admin.create(pod as unknown as KubeObject)
      const files = [`--kubeconfig=${kubeconfig}`, `--tls-cert-file=${cert}`, `--tls-key-file=${key}`]
      const child = spawn(process.execPath, [release.main, ...args, ...files], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { POD2IAM_POD_NAME: name },
      })
      children.push(child)
      return replica(api, name, child, { port, health })
    },
    async close() {
      for (const child of children) if (child.exitCode === null) child.kill('SIGKILL')
      await api.stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

const byInjector = ({ kind, metadata }: InstalledObject) =>
  (KINDS.includes(kind) || kind.endsWith('WebhookConfiguration')) && metadata.name === INJECTOR

function installed(): InstalledObject[] {
  const objects = components({ localPath: (path) => path })
  return objects.filter((object) => object.kind === 'Namespace' || byInjector(object))
}

type Webhook = { clientConfig: Dict; matchConditions?: { expression: string }[] }

/** The object with the authority that the API server trusts and, in webhooks, with match conditions for all of these keys. */
function prepared(object: InstalledObject, caPem: string, roleKeys: readonly string[]): KubeObject {
  for (const { clientConfig, matchConditions = [] } of (object.webhooks ?? []) as Webhook[]) {
    clientConfig.caBundle = Buffer.from(caPem).toString('base64')
    const asks = /'iam\.amazonaws\.com\/role' in (\S+\({}\))/g
    for (const condition of matchConditions)
      condition.expression = condition.expression.replace(
        asks,
        (_, map) => `(${roleKeys.map((key) => `'${key}' in ${map}`).join(' || ')})`,
      )
  }
  return object as unknown as KubeObject
}

function podOf(name: string, port: number, health: number, flags: readonly string[], release: Release) {
  const settings = { localPath: (path: string) => path, injectorArgs: flags }
  const objects = components(release.rendered === undefined ? settings : { ...settings, ...release })
  const deployment = objects.find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === INJECTOR)
  assert.ok(deployment, 'the chart has a Deployment')
  type Template = { metadata: Dict; spec: { containers: (Dict & { args: string[] })[] } }
  const { template } = deployment.spec as { template: Template }
  const { metadata, spec } = structuredClone(template)
  for (const container of spec.containers) {
    const given = container.args.filter((flag) => !NOT_HERE.test(flag))
    container.args = [...given, `--port=${port}`, `--health-port=${health}`]
    container.ports = [
      { name: 'webhook', containerPort: port },
      { name: 'health', containerPort: health },
    ]
  }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, name, namespace: SYSTEM_NAMESPACE },
    spec: { ...spec, nodeName: NODE },
  }
}

function replica(
  api: ApiServer,
  name: string,
  child: ChildProcess,
  { port, health }: { port: number; health: number },
): Replica {
  let output = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk
  })
  const status = (ready: boolean) =>
    api.admin.patch(
      'pods',
      name,
      SYSTEM_NAMESPACE,
      {
        status: {
          phase: 'Running',
          podIP: podAddress(),
          conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
        },
      },
      { subresource: 'status' },
    )
  const get = (path: string) => fetch(`http://127.0.0.1:${health}${path}`).catch(() => undefined)
  return {
    name,
    port,
    log: () => {
      const lines = output.split('\n').slice(0, -1)
      return lines.map((line) => JSON.parse(line) as Dict)
    },
    async metric(metric, labels) {
      const text = (await (await get('/metrics'))?.text()) ?? ''
      const line = text.split('\n').find((one) => one.startsWith(`${metric}{${labels}} `))
      return line === undefined ? undefined : Number(line.split(' ')[1])
    },
    async ready() {
      await until(async () => {
        assert.equal(child.exitCode, null, 'it runs')
        return (await get('/readyz'))?.status === 200
      })
      await status(true)
      await api.webhooksReached()
    },
    async stop(whileTerminating = async () => {}) {
      await api.admin.delete('pods', name, SYSTEM_NAMESPACE)
      await whileTerminating()
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
      await api.admin.delete('pods', name, SYSTEM_NAMESPACE, { gracePeriodSeconds: 0 })
    },
  }
}
