/** Credentials of starting pods are fetched before their sidecars request them, through the whole broker. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { eventually } from '../support/until.ts'
import { NODE, type PodOptions, World } from './world.ts'

let world: World
let made = 0

before(async () => {
  world = await World.start()
  await Promise.all([world.role('app'), world.namespace('shop')])
  await world.broker()
})
after(() => world.stop())
beforeEach(() => world.aws.clearRecords())

/** A pod that the kubelet has admitted: it has the node's address, but none of its own yet. */
const starting = (over: PodOptions = {}, namespace = 'shop') =>
  world.pod(namespace, `pod-${made++}`, {
    role: 'app',
    podIPs: [],
    phase: 'Pending',
    hostIP: '10.0.0.1',
    ...over,
  })
const sessions = async () => (await world.aws.calls({})).map(({ session }) => session)
/** Waits until a pod that is created now has been warmed up: then the broker has dealt with all earlier pods. */
async function settled(): Promise<string> {
  const last = await starting()
  await eventually('the last', async () => (await sessions()).includes(`shop.${last.name}`))
  return `shop.${last.name}`
}

test('the credentials of a starting pod are fetched before its request, and served at its request', async () => {
  const pod = await starting()
  await eventually('fetched', async () => (await sessions()).length === 1)
  await eventually('issued', () =>
    world.logs.some(({ uid, reason }) => uid === pod.uid && reason === 'warm-up'),
  )
  await world.aws.fault({ service: 'sts', kind: 'unavailable' })
  assert.equal(await world.code({ ...pod, ip: '127.66.0.1' }), 'ok')
  await world.aws.clearFaults()
  assert.deepEqual(await sessions(), [`shop.${pod.name}`])
})

test('there is no warm-up for a pod that would be refused, needs no credentials or is not starting on this node', async () => {
  await world.namespace('closed', { [KEYS.injection]: 'enabled' }, { [KEYS.allowedRoles]: '["other"]' })
  await world.namespace('outside', {})
  await Promise.all([
    starting({}, 'closed'),
    starting({}, 'outside'),
    starting({ sidecar: false }),
    starting({ hostNetwork: true }),
    starting({ node: 'node-2' }),
    starting({ phase: 'Running' }),
    starting({ phase: 'Failed' }),
    starting({ annotations: { [KEYS.inject]: 'metadata' } }),
    starting({ role: world.aws.config.nodeRoleArn }),
    // Its annotation has another role than the one it was admitted with.
    starting({ role: 'other', container: world.containers({ [KEYS.role]: 'app' }).initContainers[0] ?? {} }),
  ])
  const last = await settled()
  assert.deepEqual(await sessions(), [last])
})

test('there is no warm-up for a pod that is being deleted', async () => {
  const { name, namespace } = await world.pod('shop', `pod-${made++}`, { role: 'app', podIPs: [] })
  await world.api.admin.delete('pods', name, namespace)
  const status = { hostIP: '10.0.0.1', hostIPs: [{ ip: '10.0.0.1' }] }
  await world.api.admin.patch('pods', name, namespace, { status }, { type: 'merge', subresource: 'status' })
  const last = await settled()
  assert.deepEqual(await sessions(), [last])
})

test('a thousand pods that are bound to the node by hand, and not admitted by the kubelet, cause no STS call', async () => {
  const { admin } = world.api
  for (let index = 0; index < 1000; index++)
    await admin.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `bound-${index}`, namespace: 'shop', annotations: { [KEYS.role]: 'app' } },
      spec: { nodeName: NODE, ...world.containers({ [KEYS.role]: 'app' }) },
    })
  const last = await settled()
  assert.deepEqual(await sessions(), [last])
})

test('a pod is warmed up later when its namespace allows the role, or when the node gets its credentials', async () => {
  await world.namespace('later', { [KEYS.injection]: 'enabled' }, {})
  const pod = await starting({}, 'later')
  await settled()
  const metadata = { annotations: { [KEYS.allowedRoles]: '["app"]' } }
  await world.api.admin.patch('namespaces', 'later', undefined, { metadata })
  await eventually('warm', async () => (await sessions()).includes(`later.${pod.name}`))

  await world.aws.fault({ service: 'imds', kind: 'unavailable' })
  const broker = await world.brokerNotReady()
  await eventually('synced', () => broker.readiness().code === 'node-credentials-unavailable')
  await world.aws.clearRecords()
  await world.aws.clearFaults()
  await eventually('warm again', async () => (await sessions()).includes(`later.${pod.name}`), {
    deadlineMs: 20_000,
  })
})

test('a node that boots with 110 pods calls STS once for each, within its rate, whether they request credentials or not', async () => {
  await world.broker('--sts-qps=50', '--sts-concurrency=5')
  await world.namespace('boot')
  await world.aws.clearRecords()
  const pods = await Promise.all(
    Array.from({ length: 110 }, (_, index) => starting({ podIPs: [`127.66.9.${index + 1}`] }, 'boot')),
  )
  const codes = await Promise.all(pods.map((pod, index) => (index % 2 ? world.code(pod) : 'ok')))
  assert.deepEqual(new Set(codes), new Set(['ok']))
  const own = async () => (await world.aws.calls({})).filter(({ session }) => session?.startsWith('boot.'))
  await eventually('all', async () => (await own()).length >= 110)
  const names = (await own()).map(({ session }) => session)
  assert.deepEqual([names.length, new Set(names).size], [110, 110])
  const times = (await own()).map(({ time }) => time)
  for (const from of times) {
    const within = times.filter((time) => time >= from && time < from + 1000).length
    // A burst of 50 and 50 more; five earlier calls may still have been under way.
    assert.ok(within <= 105, `${within} calls in a second`)
  }
})
