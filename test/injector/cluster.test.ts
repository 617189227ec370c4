/** The injector in a whole cluster, installed with the chart: what can only be seen when pods really run. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { isReady, type KubeObject, needsNamespaces } from '../sandbox/index.ts'
import { isApiError } from '../sandbox/kube/client/client.ts'
import { until } from '../support/until.ts'
import type { Dict } from './fixtures.ts'

const API_ACCESS = '/var/run/secrets/kubernetes.io/serviceaccount'
const TAINT = { key: 'pod2iam.dev/guard-not-ready', effect: 'NoSchedule' }

describe('the injector in a cluster', needsNamespaces(), () => {
  let cluster: Cluster
  before(async () => {
    cluster = await createCluster({ injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'] })
    await cluster.role('shop-orders')
    await cluster.namespace('shop', { allowed: ['*'] })
  })
  after(() => cluster?.close())

  const eventsOn = async (name: string, reason: string) => {
    const { items } = await cluster.kube.list<KubeObject & Dict>('events.events.k8s.io', {
      namespace: 'shop',
    })
    return items.filter(({ regarding, reason: own }) => (regarding as Dict).name === name && own === reason)
  }

  test('the sidecar has no token for the API server, and serves its pod', async () => {
    const pod = await cluster.pod('shop/orders', { annotations: { [KEYS.role]: 'shop-orders' } })
    await cluster.pods.waitFor(pod, isReady)
    const seen = await cluster.pods.exec(pod, ['ls', '-A', API_ACCESS], { container: 'pod2iam-sidecar' })
    assert.deepEqual([seen.code, seen.stdout], [0, ''])
    const own = await cluster.pods.exec(pod, ['ls', API_ACCESS], { container: 'app' })
    assert.match(own.stdout, /^token$/m)
  })

  /** The ways in which annotations of a pod can be written; a policy guards each of them, before Kubernetes 1.30 a webhook. */
  const WAYS: Readonly<Record<string, (annotations: Dict) => Promise<unknown>>> = {
    'the pod': (annotations) => cluster.kube.patch('pods', 'orders', 'shop', { metadata: { annotations } }),
    'pods/status': (annotations) =>
      cluster.kube.patch('pods', 'orders', 'shop', { metadata: { annotations } }, { subresource: 'status' }),
    'pods/binding': (annotations) =>
      cluster.kube.post('/api/v1/namespaces/shop/pods/orders/binding', bindingOf(annotations)),
    bindings: (annotations) => cluster.kube.post('/api/v1/namespaces/shop/bindings', bindingOf(annotations)),
  }
  const bindingOf = (annotations: Dict) => ({
    apiVersion: 'v1',
    kind: 'Binding',
    metadata: { name: 'orders', namespace: 'shop', annotations },
    target: { apiVersion: 'v1', kind: 'Node', name: cluster.node.name },
  })
  for (const [way, write] of Object.entries(WAYS))
    test(`the identity of a living pod cannot be changed through ${way}, and the refusal names the annotation`, async () => {
      const error = await write({ [KEYS.role]: 'shop-billing' }).catch((reason: unknown) => reason)
      assert.ok(isApiError(error, 403), String(error))
      assert.match(error.message, /iam\.amazonaws\.com\/role of a pod cannot be changed/)
    })

  test('a pod that is older than the opt-in of its namespace gets an Event InjectionMissing', async () => {
    await cluster.kube.patch('namespaces', 'shop', undefined, {
      metadata: { labels: { [KEYS.injection]: null } },
    })
    await cluster.pod('shop/early', { annotations: { [KEYS.role]: 'shop-orders' } })
    await cluster.kube.patch('namespaces', 'shop', undefined, {
      metadata: { labels: { [KEYS.injection]: 'enabled' } },
    })
    await until(async () => (await eventsOn('early', 'InjectionMissing')).length === 1)
  })

  test('a waiting gate is reported with the code of its sidecar', async () => {
    const stuck = await cluster.pod('shop/stuck', { annotations: { [KEYS.role]: 'unknown-role' } })
    const status = async () => (await cluster.pods.get(stuck))?.status as Dict | undefined
    await until(async () => typeof (await status())?.podIP === 'string')
    // Before the broker has answered it, the sidecar gives another reason, and the injector does not ask again for a minute.
    await cluster.pods.waitForLog(stuck, 'pod2iam-sidecar', /sts-denied/, 60_000)
    // To avoid the wait of thirty seconds, a pod of no node has the same sidecar and a gate that seems to have started earlier.
    const since = new Date(Date.now() - 60_000).toISOString()
    const { spec } = await cluster.kube.get<KubeObject & { spec: Dict }>('pods', 'stuck', 'shop')
    const ghost = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'ghost', namespace: 'shop', annotations: { [KEYS.role]: 'unknown-role' } },
      spec: { ...spec, nodeName: 'node-of-another-time' },
    }
    await cluster.kube.create(ghost as unknown as KubeObject)
    await cluster.kube.patch(
      'pods',
      'ghost',
      'shop',
      {
        status: {
          phase: 'Pending',
          podIP: (await status())?.podIP,
          initContainerStatuses: [{ name: 'pod2iam-gate', state: { running: { startedAt: since } } }],
        },
      },
      { subresource: 'status' },
    )
    // On a busy machine the sidecar may not answer within its second; then it is asked again after a minute.
    const note = /the sidecar says sts-denied: kubectl logs ghost -n shop -c pod2iam-gate/
    const isTold = async () =>
      (await eventsOn('ghost', 'GateWaiting')).some((event) => note.test(String(event.note)))
    await until(isTold, { deadlineMs: 150_000 })
    await cluster.kube.delete('pods', 'ghost', 'shop', { gracePeriodSeconds: 0 })
  })

  test('the startup taint keeps pods away until the guard is ready, and is then removed', async () => {
    const [node] = (await cluster.kube.list('nodes')).items
    const name = node?.metadata.name ?? ''
    const taints = async () =>
      ((await cluster.kube.get('nodes', name)) as unknown as { spec: { taints?: Dict[] } }).spec.taints ?? []
    await cluster.kube.patch('nodes', name, undefined, { spec: { taints: [TAINT] } })
    const pod = await cluster.pod('shop/waits', { annotations: { [KEYS.role]: 'shop-orders' } })
    await until(async () => (await taints()).length === 0)
    await cluster.pods.waitFor(pod, isReady)
  })
})
