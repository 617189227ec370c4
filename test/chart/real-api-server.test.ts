/**
 * The chart on a real API server, with real helm of both major versions. There are no nodes, so no pod runs: this tests what helm
 * and the API server do. Pods run in `test/sandbox/real/product.test.ts` and `npm run test:cluster`.
 */
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { kubernetesRelease } from '../peers/kubernetes-release.ts'
import { needsPeer } from '../peers/peers.ts'
import { type ApiServer, isApiError, type KubeObject } from '../sandbox/kube/client/client.ts'
import { namespace, pod, testServer } from '../sandbox/kube/client/test-server.ts'
import { objectAt } from '../sandbox/kube/objects/objects.ts'
import { pathOf, type Resource, resourceByKind } from '../sandbox/kube/objects/resources.ts'
import { judgeByRealApiServer, kubernetesVersion, needsControlPlane } from '../sandbox/real/judge.ts'
import { eventually } from '../support/until.ts'
import {
  CHART,
  flagsOn,
  HELMS,
  type Helm,
  helmOf,
  needsHelm,
  objectsOf,
  RELEASE_NAMESPACE,
  type Rendered,
  renderFor,
  SETS,
  SETS_DIRECTORY,
  template,
} from './helm.ts'

/** Kinds of other projects, whose definitions are not installed. */
const FOREIGN = /^(cilium\.io|monitoring\.coreos\.com|cert-manager\.io|security\.openshift\.io)\//
const VALUES = `${SETS_DIRECTORY}sandbox.yaml`
/** The namespace of the tests in these values. */
const TESTS = 'helm-tests'
const needs = { ...needsHelm, ...needsControlPlane() }

if (needs.skip === undefined) judgeByRealApiServer()

describe('the chart on a real API server', needs, () => {
  const server = testServer()

  for (const name of HELMS) describe(name, needsPeer(name), () => lifeCycle(server, name))

  describe('helm, for a release that helm3 installed,', needsPeer('helm3'), () =>
    lifeCycle(server, 'helm', 'helm3'),
  )

  describe('accepts every object, without a field that the API does not know, with the values', () => {
    for (const set of SETS)
      test(set, async () => {
        const objects = objectsOf(renderedOf(set)).filter(({ apiVersion }) => !FOREIGN.test(apiVersion))
        for (const object of objects) await tryOut(server(), object)
      })
  })
})

/** The life cycle of a release with the helm `name`; another major version may have installed it. */
function lifeCycle(server: () => ApiServer, name: Helm, first = name): void {
  const shop = `${name}-and-${first}-shop`
  let kubeconfig = ''
  const runBy = (command: Helm, ...args: string[]) =>
    helmOf(command, ...args, '--namespace', RELEASE_NAMESPACE, '--kubeconfig', kubeconfig)
  const run = (...args: string[]) => runBy(name, ...args)
  const manifest = () => objectsOf(run('get', 'manifest', 'pod2iam'))
  const there = (object: Rendered) => found(server(), object)
  const values = () => ['--values', VALUES, ...flagsOn(kubernetesVersion())]

  before(async () => {
    kubeconfig = await server().kubeconfig()
    await server().admin.create(namespace(shop, { [KEYS.injection]: 'enabled' }))
  })

  test('installs every object in the manifest, and the webhook is in force', async () => {
    runBy(first, 'install', 'pod2iam', CHART, '--create-namespace', ...values())
    const objects = manifest()
    for (const object of objects)
      assert.notEqual(await there(object), undefined, `${object.kind} ${object.metadata.name}`)
    const annotated = pod('early', shop, { metadata: { annotations: { [KEYS.role]: 'reader' } } })
    // No injector runs here: a pod that asks for a role must wait for it, instead of running without a sidecar.
    await eventually('the webhook', async () => {
      const error = await server()
        .admin.create(annotated, { dryRun: true })
        .catch((reason: unknown) => reason)
      return isApiError(error, 500) && /failed calling webhook.*no endpoints available/.test(error.message)
    })
    await server().admin.create(pod('plain', shop))
  })

  test('upgrades only the object that the value changes', async () => {
    const before = await generations(server(), manifest())
    run('upgrade', 'pod2iam', CHART, ...values(), '--set', 'injector.replicas=3')
    const after = await generations(server(), manifest())
    const changed = Object.keys(after).filter((name) => after[name] !== before[name])
    assert.deepEqual(changed, ['Deployment pod2iam-injector'])
    assert.equal(await replicas(server()), 3)
  })

  test('rolls back to the first revision', async () => {
    const objects = manifest()
    run('rollback', 'pod2iam', '1')
    assert.equal(await replicas(server()), 1)
    // Each major version has its own order.
    const names = (all: readonly Rendered[]) =>
      all.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort()
    assert.deepEqual(names(manifest()), names(objects))
  })

  test('tests, where a test pod cannot run without its sidecar, and the hook says why', async () => {
    const { admin } = server()
    if ((await admin.find('namespaces', TESTS)) === undefined)
      await admin.create(namespace(TESTS, { [KEYS.injection]: 'enabled' }))
    assert.throws(() => run('test', 'pod2iam', '--timeout', '5s'), /no endpoints available for service/)
  })

  test('uninstalls every object, and pods are created as before', async () => {
    const objects = manifest()
    run('uninstall', 'pod2iam')
    for (const object of objects)
      await eventually(`the end of ${object.kind} ${object.metadata.name}`, async () => {
        return (await there(object)) === undefined
      })
    const annotated = pod('late', shop, { metadata: { annotations: { [KEYS.role]: 'reader' } } })
    await eventually('a pod without a webhook', async () => {
      await server().admin.create(annotated)
      return true
    })
  })
}

/** The generations of objects that have one; it rises with every change of the spec. */
async function generations(
  server: ApiServer,
  objects: readonly Rendered[],
): Promise<Record<string, unknown>> {
  const entries = await Promise.all(
    objects.map(async (object) => {
      const now = await found(server, object)
      const { generation, resourceVersion } = (now?.metadata ?? {}) as Record<string, unknown>
      return [`${object.kind} ${object.metadata.name}`, generation ?? resourceVersion] as const
    }),
  )
  return Object.fromEntries(entries)
}

async function replicas({ admin }: ApiServer): Promise<unknown> {
  const deployment = await admin.get('deployments', 'pod2iam-injector', RELEASE_NAMESPACE)
  return objectAt(deployment, 'spec').replicas
}

/** The oldest Kubernetes gets what the chart has for it; the newest one also gets what it has for older ones. */
function renderedOf(set: string): string {
  return kubernetesRelease() === 'oldest' ? renderFor(kubernetesVersion(), set) : template(set)
}

function resourceOf({ apiVersion, kind }: Rendered): Resource {
  const resource = resourceByKind(apiVersion, kind)
  assert.ok(resource !== undefined, `${apiVersion} ${kind} is no kind that the sandbox knows`)
  return resource
}

async function found({ admin }: ApiServer, object: Rendered): Promise<KubeObject | undefined> {
  const resource = resourceOf(object)
  const place = resource.namespaced ? (object.metadata.namespace ?? RELEASE_NAMESPACE) : undefined
  const answer = await admin.request('GET', pathOf(resource, place, object.metadata.name))
  if (answer.status === 404) return undefined
  assert.equal(answer.status, 200, answer.body)
  return JSON.parse(answer.body) as KubeObject
}

/** A dry run with the same strict field validation as `kubectl --validate=strict`. */
async function tryOut({ admin }: ApiServer, object: Rendered): Promise<void> {
  const resource = resourceOf(object)
  const place = resource.namespaced ? (object.metadata.namespace ?? RELEASE_NAMESPACE) : undefined
  if (place !== undefined && (await admin.find('namespaces', place)) === undefined)
    await admin.create(namespace(place))
  // The pods of the set need it.
  if (object.kind === 'ServiceAccount') await admin.apply(object as unknown as KubeObject)
  const path = `${pathOf(resource, place)}?dryRun=All&fieldValidation=Strict`
  const answer = await admin.request('POST', path, object)
  assert.ok(
    answer.status === 201 || isThereAlready(answer),
    `${object.kind} ${object.metadata.name}: ${answer.body}`,
  )
}

/** The namespace that is part of the set itself. */
const isThereAlready = ({ status, body }: { status: number; body: string }) =>
  status === 409 && body.includes('AlreadyExists')
