import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { eventually } from '../../support/until.ts'
import { createSandbox, isReady, needsNamespaces, type Sandbox } from '../index.ts'
import type { KubeClient, KubeObject } from '../kube/client/client.ts'
import { testServer } from '../kube/client/test-server.ts'
import type { Pod } from './pod.ts'
import { misfit, type Node, startScheduler } from './scheduler.ts'
import { apply, IMAGES, pod, sh, untilTerm } from './test-pods.ts'

const node = (taints: NonNullable<Node['spec']>['taints'] = []): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'n', labels: { 'kubernetes.io/hostname': 'n' } },
  spec: { taints },
})
const plain = pod('p', { containers: [] })
const tolerating = (toleration: object) => pod('p', { containers: [], tolerations: [toleration] })

test('a pod fits if it has no node selector or one that names the node', () => {
  const selecting = (name: string) =>
    pod('p', { containers: [], nodeSelector: { 'kubernetes.io/hostname': name } })
  assert.equal(misfit(plain, node()), undefined)
  assert.equal(misfit(selecting('n'), node()), undefined)
  assert.match(misfit(selecting('other'), node()) ?? '', /didn't match Pod's node affinity/)
})

test('a taint keeps out pods that do not tolerate it', () => {
  const tainted = node([{ key: 'pod2iam.dev/not-ready', effect: 'NoSchedule' }])
  assert.match(misfit(plain, tainted) ?? '', /untolerated taint \{pod2iam\.dev\/not-ready/)
  for (const toleration of [
    { operator: 'Exists' },
    { key: 'pod2iam.dev/not-ready', operator: 'Exists' },
    { key: 'pod2iam.dev/not-ready', effect: 'NoSchedule' },
  ])
    assert.equal(misfit(tolerating(toleration), tainted), undefined)
  for (const toleration of [
    { key: 'other', operator: 'Exists' },
    { key: 'pod2iam.dev/not-ready', value: 'x' },
    { operator: 'Exists', effect: 'NoExecute' },
  ])
    assert.notEqual(misfit(tolerating(toleration), tainted), undefined)
})

describe('the scheduler of a slow watch', () => {
  const server = testServer()

  test('uses the current state of the node for a pod, not the last one that the watch reported', async () => {
    const { admin } = server()
    const tainted = node([{ key: 'pod2iam.dev/not-ready', effect: 'NoSchedule' }])
    await admin.create(tainted)
    // The watch reports the state of the node before the taint.
    const kube = {
      find: admin.find.bind(admin),
      bind: admin.bind.bind(admin),
      patch: admin.patch.bind(admin),
      follow: ((resource, options, handlers) => {
        if (resource !== 'nodes') return admin.follow(resource, options, handlers)
        handlers.onChange(node() as never, undefined)
        return { synced: Promise.resolve(), close: () => {} }
      }) satisfies KubeClient['follow'] as KubeClient['follow'],
    }
    const scheduler = startScheduler(kube, 'n')
    try {
      await admin.create(pod('waits', { containers: [{ name: 'app', image: 'app' }] }) as KubeObject)
      const judged = await eventually('a word on the pod', async () => {
        const found = await admin.find<Pod>('pods', 'waits', 'default')
        return found?.spec.nodeName === undefined && found?.status?.conditions === undefined
          ? undefined
          : found
      })
      assert.equal(judged.spec.nodeName, undefined)
      assert.equal(judged.status?.conditions?.[0]?.reason, 'Unschedulable')
    } finally {
      scheduler.close()
    }
  })
})

describe('the scheduler', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({ images: { ...IMAGES } })
  })
  after(() => sandbox?.close())

  test('a pod waits, saying why, until the taint it does not tolerate is gone', async () => {
    const taints = [{ key: 'pod2iam.dev/not-ready', effect: 'NoSchedule' }]
    await sandbox.kube.patch('nodes', sandbox.node.name, undefined, { spec: { taints } })
    const key = await apply(sandbox, pod('waits', { containers: [sh('app', untilTerm())] }))
    await sandbox.pods.waitFor(key, (p) => p?.status?.conditions?.[0]?.reason === 'Unschedulable')
    await sandbox.kube.patch('nodes', sandbox.node.name, undefined, { spec: { taints: [] } })
    await sandbox.pods.waitFor(key, isReady)
  })

  test('a pod bound to another node is ignored', async () => {
    const key = await apply(sandbox, pod('elsewhere', { nodeName: 'other', containers: [sh('app', 'true')] }))
    const here = await apply(
      sandbox,
      pod('here', { nodeName: sandbox.node.name, containers: [sh('app', untilTerm())] }),
    )
    await sandbox.pods.waitFor(here, isReady)
    assert.throws(() => sandbox.pods.logs(key), /is not on the node/)
  })
})
