/** The list of pods on the host network that the broker writes for the firewall. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { MAX_HOST_PODS, readHostPods, writeHostPods } from '../../common/host-pods.ts'
import { KEYS } from '../../common/keys.ts'
import { hostPods } from '../../node-guard/broker/kubernetes/host-pods.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { needsHelm, render } from '../chart/helm.ts'
import { eventually } from '../support/until.ts'
import { World } from './world.ts'

let world: World
before(async () => {
  world = await World.start()
})
after(() => world?.stop())

test('the list has the pods on the host network, and whether the setting or the current label allows them the node’s role', async () => {
  const directory = join(world.directory, 'pods')
  await mkdir(directory)
  await world.namespace('agents', { [KEYS.hostNetwork]: 'allowed' })
  await world.namespace('shop')
  for (const [namespace, name] of [
    ['kube-system', 'aws-node-x1'],
    ['kube-system', 'other-x1'],
    ['agents', 'agent-1'],
    ['shop', 'scraper'],
  ] as const)
    await world.pod(namespace, name, { hostNetwork: true, sidecar: false })
  await world.pod('shop', 'not-on-the-host', { role: 'app' })
  await world.broker(`--host-pods-dir=${directory}`, '--host-network-allowed=kube-system/aws-node-*')
  const listed = async () => {
    const read = await readHostPods(directory)
    assert.ok(read.ok, read.ok ? '' : read.detail)
    return read.pods.map(({ namespace, name, allowed }) => `${namespace}/${name} ${allowed}`).sort()
  }
  const becomes = (...expected: string[]) =>
    eventually(expected.join(), async () => {
      assert.deepEqual(await listed(), expected)
      return true
    })
  const system = ['kube-system/aws-node-x1 true', 'kube-system/other-x1 false']
  await becomes('agents/agent-1 true', ...system, 'shop/scraper false')
  const label = (name: string, value: string | null) =>
    world.api.admin.patch('namespaces', name, undefined, {
      metadata: { labels: { [KEYS.hostNetwork]: value } },
    })
  await label('agents', 'Allowed')
  await becomes('agents/agent-1 false', ...system, 'shop/scraper false')
  await label('shop', 'allowed')
  await becomes('agents/agent-1 false', ...system, 'shop/scraper true')
  // A label that is removed while the API server is away is missing from its next list.
  await world.api.refuse()
  await label('shop', null)
  await world.api.compact()
  await world.api.accept()
  await becomes('agents/agent-1 false', ...system, 'shop/scraper false')
  await world.api.admin.delete('pods', 'scraper', 'shop', { gracePeriodSeconds: 0 })
  await becomes('agents/agent-1 false', ...system)
  // Whatever changes nothing in the list does not cause it to be written.
  const inode = async () => (await stat(join(directory, 'host-pods.json'))).ino
  const before = await inode()
  const ordinary = await world.pod('shop', 'ordinary', { role: 'app' })
  await eventually('known', async () => (await world.code(ordinary)) !== 'pod-unknown')
  for (let time = 0; time < 50; time++) assert.equal(await inode(), before)
})

test('the list is in the order of the uids, so that it is the same for the same pods', () => {
  const records = ['bb-1', 'aa-1', 'cc-1'].map((uid) => {
    const metadata = { uid, namespace: 'a', name: uid }
    return podRecord({ metadata, spec: { hostNetwork: true } }, KEYS.role) ?? assert.fail()
  })
  assert.deepEqual(
    hostPods(records, new Set(), []).map(({ uid }) => uid),
    ['aa-1', 'bb-1', 'cc-1'],
  )
})

test('the chart allows the node’s role to AWS’s agents on the host network that need it', needsHelm, () => {
  const [, list = ''] =
    /--host-network-allowed=([^"]+)/.exec(render('sandbox', '--set=guard.hostNetwork=block')) ?? []
  const allows = (name: string) => {
    const metadata = { uid: 'aa', namespace: 'kube-system', name }
    const pod = podRecord({ metadata, spec: { hostNetwork: true } }, KEYS.role)
    return pod && hostPods([pod], new Set(), list.split(','))[0]?.allowed
  }
  for (const name of [
    'aws-node-x7x2p',
    'ebs-csi-node-x7x2p',
    'efs-csi-node-x7x2p',
    'eks-pod-identity-agent-x7x2p',
  ])
    assert.equal(allows(name), true, name)
  assert.equal(allows('kube-proxy-x7x2p'), false)
})

test('a static pod is listed with the uid of its manifest, and no other pod can choose its uid by an annotation', () => {
  const record = (annotations: object) => {
    const pod = podRecord(
      { metadata: { uid: 'aa-1', namespace: 'a', name: 'b', annotations }, spec: { hostNetwork: true } },
      KEYS.role,
    )
    assert.ok(pod)
    return hostPods([pod], new Set(), [])[0]?.uid
  }
  const hash = { 'kubernetes.io/config.hash': '0123456789abcdef0123456789abcdef' }
  assert.equal(record({ ...hash, 'kubernetes.io/config.mirror': 'x' }), '0123456789abcdef0123456789abcdef')
  assert.equal(record(hash), 'aa-1')
  assert.equal(
    record({ 'kubernetes.io/config.hash': '../../x"', 'kubernetes.io/config.mirror': 'x' }),
    'aa-1',
  )
})

test('the list has a maximum length, and a malformed list is not read', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'host-pods-'))
  const one = { uid: 'aa', namespace: 'a', name: 'b', allowed: false }
  const many = Array.from({ length: MAX_HOST_PODS + 5 }, (_, index) => ({ ...one, uid: index.toString(16) }))
  await writeHostPods(directory, [...many, { ...one, allowed: true }])
  const read = await readHostPods(directory)
  assert.ok(read.ok)
  assert.equal(read.pods.length, MAX_HOST_PODS)
  assert.equal(read.pods[0]?.allowed, true)
  for (const text of [
    '',
    '[]',
    '{"version":2,"pods":[]}',
    '{"version":1,"pods":{}}',
    JSON.stringify({ version: 1, pods: many }),
    ...[
      { ...one, uid: 'a/../b' },
      { ...one, uid: 'a"b' },
      { ...one, name: 'a\nb' },
      { ...one, allowed: 'true' },
      null,
    ].map((pod) => JSON.stringify({ version: 1, pods: [pod] })),
  ]) {
    await writeFile(join(directory, 'host-pods.json'), text)
    const bad = await readHostPods(directory)
    assert.match(bad.ok ? '' : bad.detail, /cannot be read/, text.slice(0, 60))
  }
  await rm(directory, { recursive: true })
})
