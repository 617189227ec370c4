/** Pods that start in one stage, on a whole node: only the start hook of the sidecar keeps an app from starting too early. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { container, containerStatus, isReady, needsNamespaces } from '../sandbox/index.ts'
import { ROLE } from './pods.ts'

const annotations = { [ROLE]: 'shop-orders', 'pod2iam.dev/redirect': 'env' }
/** Requests its credentials once, without a retry, as its first instruction. */
const LIST = '"$AWS_EC2_METADATA_SERVICE_ENDPOINT"latest/meta-data/iam/security-credentials/'
const FIRST = ['sh', '-c', `curl -sf --max-time 1 ${LIST} && exec sleep 3600`]

describe('a pod that starts in one stage', needsNamespaces(), () => {
  let cluster: Cluster
  before(async () => {
    cluster = await createCluster({ injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'] })
    await cluster.role('shop-orders')
    await cluster.namespace('shop', { allowed: ['shop-*'] })
  })
  after(async () => {
    await cluster?.close()
  })

  const start = (name: string, spec: Readonly<Record<string, unknown>> = {}) =>
    cluster.pod(name, {
      annotations,
      spec: { ...spec, containers: [{ name: 'app', image: 'registry.example/idle:1', command: FIRST }] },
    })
  const ours = async (pod: string) =>
    ((await cluster.pods.get(pod))?.spec.initContainers ?? []).map(({ name }) => name)

  test('has its credentials at its first instruction, and only one of our containers', async () => {
    const pod = await start('shop/first')
    await cluster.pods.waitFor(pod, isReady)
    assert.deepEqual(await ours(pod), ['pod2iam-sidecar'])
    await cluster.pods.waitForLog(pod, 'app', /^shop-orders/)
    assert.equal(containerStatus(await cluster.pods.get(pod), 'app')?.restartCount, 0)
  })

  test('waits while STS is unavailable, and its app is started only afterwards', async () => {
    await cluster.aws.fault({ service: 'sts', kind: 'unavailable' })
    const pod = await start('shop/late')
    await cluster.pods.waitForLog(pod, 'pod2iam-sidecar', /sts-unavailable/)
    assert.ok(!('running' in (containerStatus(await cluster.pods.get(pod), 'app')?.state ?? {})))
    assert.equal(cluster.pods.logs(pod, 'app'), '')
    await cluster.aws.clearFaults()
    await cluster.pods.waitFor(pod, isReady)
    await cluster.pods.waitForLog(pod, 'app', /^shop-orders/)
    await cluster.pods.waitFor(
      pod,
      container('app', ({ restartCount }) => restartCount === 0),
    )
  })

  test('keeps running when only its sidecar is restarted, which then waits for nothing', async () => {
    const pod = await start('shop/restarted')
    await cluster.pods.waitForLog(pod, 'app', /^shop-orders/)
    cluster.pods.kill(pod, 'pod2iam-sidecar')
    await cluster.pods.waitForLog(pod, 'pod2iam-sidecar', /the pod has started before/)
    await cluster.pods.waitFor(
      pod,
      container('pod2iam-sidecar', ({ state, restartCount }) => 'running' in state && restartCount === 1),
    )
    assert.equal(containerStatus(await cluster.pods.get(pod), 'app')?.restartCount, 0)
  })

  test('gets a gate instead where it is in its host’s IPC namespace', async () => {
    // The sandbox's node does not run such pods, so it is not started.
    assert.deepEqual(await ours(await start('shop/ipc', { hostIPC: true })), [
      'pod2iam-sidecar',
      'pod2iam-gate',
    ])
  })
})
