/** The clients of a real cluster with this server: @kubernetes/client-node and kubectl. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { CoreV1Api, KubeConfig, ListWatch, Watch } from '@kubernetes/client-node'
import { needsPeer, peer } from '../../../peers/peers.ts'
import { eventually } from '../../../support/until.ts'
import { objectAt } from '../objects/objects.ts'
import { isStandIn } from './client.ts'
import { namespace, pod, testServer } from './test-server.ts'

const server = testServer()
const admin = () => server().admin

async function kubeConfig(token?: string): Promise<KubeConfig> {
  const config = new KubeConfig()
  config.loadFromFile(await server().kubeconfig(token))
  return config
}

test('client-node lists, creates and deletes objects, and reports 404', async () => {
  const api = (await kubeConfig()).makeApiClient(CoreV1Api)
  await api.createNamespacedPod({
    namespace: 'default',
    body: { metadata: { name: 'cn' }, spec: { containers: [{ name: 'a', image: 'a' }] } },
  })
  const { items } = await api.listNamespacedPod({ namespace: 'default' })
  assert.deepEqual(
    items.map(({ metadata }) => metadata?.name),
    ['cn'],
  )
  assert.ok(items[0]?.metadata?.creationTimestamp instanceof Date)
  await api.deleteNamespacedPod({ name: 'cn', namespace: 'default' })
  await assert.rejects(api.readNamespacedPod({ name: 'cn', namespace: 'default' }), { code: 404 })
})

test('client-node patches pods and requests tokens', async () => {
  const api = (await kubeConfig()).makeApiClient(CoreV1Api)
  await admin().create(pod('cn-patch'))
  const patched = await api.patchNamespacedPod({
    name: 'cn-patch',
    namespace: 'default',
    body: [{ op: 'add', path: '/metadata/labels', value: { a: 'b' } }],
  })
  assert.equal(patched.metadata?.labels?.a, 'b')
  const request = await api.createNamespacedServiceAccountToken({
    name: 'default',
    namespace: 'default',
    body: { spec: { audiences: ['pod2iam'], expirationSeconds: 600 } },
  })
  assert.ok((request.status?.token ?? '').length > 100)
  assert.ok(request.status?.expirationTimestamp instanceof Date)
})

test('client-node watches objects', async () => {
  const watch = new Watch(await kubeConfig())
  const seen: string[] = []
  const controller = await watch.watch(
    '/api/v1/namespaces/default/pods',
    {},
    (type, object) => seen.push(`${type} ${object.metadata.name}`),
    () => {},
  )
  await admin().create(pod('cn-watch'))
  await eventually('the event', () => seen.includes('ADDED cn-watch'))
  controller.abort()
})

test('a client-node informer of one node follows its pods, and relists after a 410', async () => {
  const config = await kubeConfig()
  const api = config.makeApiClient(CoreV1Api)
  await admin().create(namespace('informer'))
  const fieldSelector = 'spec.nodeName=cn-node'
  const informer = new ListWatch(
    '/api/v1/pods',
    new Watch(config),
    () => api.listPodForAllNamespaces({ fieldSelector }),
    false,
    undefined,
    fieldSelector,
  )
  const names = () =>
    informer
      .list()
      .map(({ metadata }) => metadata?.name)
      .sort()
  await informer.start()
  for (const name of ['a', 'b']) {
    await admin().create(pod(name, 'informer'))
    await admin().bind('informer', name, 'cn-node')
  }
  await admin().create(pod('elsewhere', 'informer'))
  await eventually('both pods', () => names().length === 2)
  if (isStandIn()) await server().cutWatches('expired')
  await admin().delete('pods', 'a', 'informer', { gracePeriodSeconds: 0 })
  await eventually('the deletion it missed', () => names().length === 1)
  await informer.stop()
  assert.deepEqual(names(), ['b'])
})

const needsKubectl = needsPeer('kubectl')

async function kubectl(args: string[], input?: string) {
  const config = await server().kubeconfig()
  const env = {
    ...process.env,
    KUBECONFIG: config,
    KUBECACHEDIR: server().directory,
    HOME: server().directory,
  }
  const running = promisify(execFile)(peer('kubectl') ?? 'kubectl', args, { env, timeout: 120_000 })
  running.child.stdin?.end(input)
  return running
}

const MANIFEST = `
apiVersion: v1
kind: Namespace
metadata: {name: kubectl}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: kubectl, annotations: {a: "1"}}
spec: {containers: [{name: app, image: "app:1"}]}
`

test('kubectl applies (twice), gets, labels, patches and deletes objects', needsKubectl, async () => {
  assert.match(
    (await kubectl(['apply', '-f', '-'], MANIFEST)).stdout,
    /namespace\/kubectl created\npod\/web created/,
  )
  assert.match((await kubectl(['apply', '-f', '-'], MANIFEST)).stdout, /pod\/web unchanged/)
  const changed = MANIFEST.replace('a: "1"', 'b: "2"')
  assert.match((await kubectl(['apply', '-f', '-'], changed)).stdout, /pod\/web configured/)
  const { annotations = {} } = (await admin().get('pods', 'web', 'kubectl')).metadata
  assert.equal(annotations.a, undefined)
  assert.equal(annotations.b, '2')
  assert.match((await kubectl(['-n', 'kubectl', 'get', 'pods'])).stdout, /^NAME[\s\S]*web/)
  await kubectl(['label', 'namespace', 'kubectl', 'pod2iam.dev/injection=enabled'])
  assert.equal(
    (await admin().get('namespaces', 'kubectl')).metadata.labels?.['pod2iam.dev/injection'],
    'enabled',
  )
  const image = '{"spec":{"containers":[{"name":"app","image":"app:2"}]}}'
  await kubectl(['-n', 'kubectl', 'patch', 'pod', 'web', '-p', image])
  assert.match(
    JSON.stringify(objectAt(await admin().get('pods', 'web', 'kubectl'), 'spec').containers),
    /app:2/,
  )
  await kubectl(['-n', 'kubectl', 'delete', 'pod', 'web'])
  assert.equal(await admin().find('pods', 'web', 'kubectl'), undefined)
})

test('kubectl prints warnings and refusals as on a real cluster', needsKubectl, async () => {
  await admin().create(namespace('kubectl-ps', { 'pod-security.kubernetes.io/warn': 'restricted' }))
  const { stderr } = await kubectl(['-n', 'kubectl-ps', 'run', 'p', '--image=app:1'])
  assert.match(stderr, /^Warning: would violate PodSecurity "restricted:latest"/)
  await admin().create(namespace('kubectl-no', { 'pod-security.kubernetes.io/enforce': 'restricted' }))
  await assert.rejects(
    kubectl(['-n', 'kubectl-no', 'run', 'p', '--image=app:1']),
    /Error from server \(Forbidden\): pods "p" is forbidden: violates PodSecurity/,
  )
})

const DEPLOYMENT = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: rollout}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "app:1"}]}
`

test('kubectl waits for a rollout and describes its Events', needsKubectl, async () => {
  await admin().create(namespace('rollout'))
  await kubectl(['apply', '-f', '-'], DEPLOYMENT)
  const waiting = kubectl(['-n', 'rollout', 'rollout', 'status', 'deployment/web', '--timeout=60s'])
  const web = await eventually(
    'its pod',
    async () => (await admin().list('pods', { namespace: 'rollout' })).items[0],
  )
  const status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] }
  await admin().patch('pods', web.metadata.name ?? '', 'rollout', { status }, { subresource: 'status' })
  assert.match((await waiting).stdout, /successfully rolled out/)
  const { stdout } = await kubectl(['-n', 'rollout', 'describe', 'replicaset'])
  assert.match(stdout, /SuccessfulCreate\s+\S+\s+replicaset-controller\s+Created pod: web-/)
})
