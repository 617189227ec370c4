import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createSandbox, isReady, needsNamespaces, type Sandbox } from '../index.ts'
import { misfit, type Node } from './scheduler.ts'
import { apply, IMAGES, pod, sh, untilTerm } from './test-pods.ts'

const node = (taints: NonNullable<Node['spec']>['taints'] = []): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'n', labels: { 'kubernetes.io/hostname': 'n' } },
  spec: { taints },
})
const plain = pod('p', { containers: [] })
const tolerating = (toleration: object) => pod('p', { containers: [], tolerations: [toleration] })

test('a pod fits when its node selector names the node', () => {
  const selecting = (name: string) =>
    pod('p', { containers: [], nodeSelector: { 'kubernetes.io/hostname': name } })
  assert.equal(misfit(plain, node()), undefined)
  assert.equal(misfit(selecting('n'), node()), undefined)
  assert.match(misfit(selecting('other'), node()) ?? '', /didn't match Pod's node affinity/)
})

test('a taint keeps out what does not tolerate it', () => {
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

  test('a pod bound to another node is left alone', async () => {
    const key = await apply(sandbox, pod('elsewhere', { nodeName: 'other', containers: [sh('app', 'true')] }))
    const here = await apply(
      sandbox,
      pod('here', { nodeName: sandbox.node.name, containers: [sh('app', untilTerm())] }),
    )
    await sandbox.pods.waitFor(here, isReady)
    assert.throws(() => sandbox.pods.logs(key), /is not on the node/)
  })
})
