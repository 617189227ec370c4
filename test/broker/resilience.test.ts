/** The API server, its keys, its watches and the metadata service fail and return. */
import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { eventually } from '../support/until.ts'
import { type TestPod, World } from './world.ts'

let world: World
let pod: TestPod
let made = 0

before(async () => {
  world = await World.start()
  await Promise.all([world.role('app'), world.namespace('shop')])
  await world.broker()
  pod = await world.pod('shop', 'web', { role: 'app' })
  assert.equal(await world.code(pod), 'ok')
})
after(() => world.stop())
afterEach(async () => {
  await Promise.all([world.api.clearFaults(), world.aws.clearFaults()])
  await eventually('well again', async () => (await world.code(pod)) === 'ok')
})

const another = () => world.pod('shop', `pod-${made++}`, { role: 'app' })

test('while the API server is away, known pods are served, and a withdrawn permission is noticed when it is back', async () => {
  await world.api.refuse()
  for (let index = 0; index < 5; index++) assert.equal(await world.code(pod), 'ok')
  await world.api.admin.patch('namespaces', 'shop', undefined, {
    metadata: { annotations: { [KEYS.allowedRoles]: '[]' } },
  })
  assert.equal(await world.code(pod), 'ok')
  await world.api.accept()
  await eventually('withdrawn', async () => (await world.code(pod)) === 'role-not-allowed')
  await world.api.admin.patch('namespaces', 'shop', undefined, {
    metadata: { annotations: { [KEYS.allowedRoles]: '["*"]' } },
  })
})

test('while the API server is away, a pod that the watch has not reported gets a retryable error', async () => {
  await world.api.refuse()
  const unseen = await another()
  const { status, body, headers } = await world.ask(unseen)
  assert.deepEqual([status, body.code], [503, 'busy'])
  assert.ok(headers['retry-after'])
  await world.api.accept()
  await eventually('served', async () => (await world.code(unseen)) === 'ok')
})

test('watches continue after an end, a reset, an expiry and a restart of the API server', async () => {
  for (const disturb of [
    () => world.api.cutWatches('clean'),
    () => world.api.cutWatches('reset'),
    () => world.api.cutWatches('expired'),
    () => world.api.compact().then(() => world.api.cutWatches('reset')),
    () => world.api.restart({ downMs: 50 }),
  ]) {
    await disturb()
    // Only the watch can report a removed label, since a live read is made only for unknown namespaces.
    const label = (value: string | null) =>
      world.api.admin.patch('namespaces', 'shop', undefined, {
        metadata: { labels: { [KEYS.injection]: value } },
      })
    await label('off')
    await eventually('noticed', async () => (await world.code(pod)) === 'namespace-not-enabled')
    await label('enabled')
    await eventually('noticed again', async () => (await world.code(pod)) === 'ok')
  }
})

test('a pod that is deleted while the watch is cut is noticed by the next list, also when the history is compacted', async () => {
  const doomed = await another()
  await eventually('served', async () => (await world.code(doomed)) === 'ok')
  await world.api.refuse()
  await world.api.admin.delete('pods', doomed.name, 'shop', { gracePeriodSeconds: 0 })
  await world.api.compact()
  await world.api.accept()
  await eventually('gone', async () => (await world.code(doomed)) === 'pod-unknown')
})

test('while a watch hangs, a new pod or a new address of a pod is found by a live read', async () => {
  const known = await another()
  await eventually('served', async () => (await world.code(known)) === 'ok')
  await world.api.fault({ kind: 'hang', match: { verb: 'watch' } })
  await world.api.cutWatches('reset')
  const fresh = await another()
  assert.equal(await world.code(fresh), 'ok')
  const status = { podIP: '127.99.0.3', podIPs: [{ ip: '127.99.0.3' }] }
  await world.api.admin.patch(
    'pods',
    known.name,
    'shop',
    { status },
    { type: 'merge', subresource: 'status' },
  )
  assert.equal(await world.code({ ...known, ip: '127.99.0.3' }), 'ok')
  await world.api.clearFaults()
  await world.broker()
})

test('a watch that is cut after a bookmark continues without a new list, although older history is compacted', async () => {
  const own = async () => (await world.api.calls()).filter(({ user }) => user.endsWith(':broker'))
  const open = async () =>
    (await own()).filter(({ verb, code }) => verb === 'watch' && code === 0).length === 2
  await world.api.calls({ clear: true })
  await world.broker()
  await eventually('both watches are open', open)
  await world.namespace(`noise-${made++}`, {})
  // Resource versions of earlier events are too old from here on; that of the bookmark is not.
  await world.api.compact()
  await world.api.bookmark()
  await world.api.calls({ clear: true })
  await world.api.cutWatches('clean')
  const fresh = await another()
  await eventually('both watches are open again', open)
  assert.equal(await world.code(fresh), 'ok')
  assert.deepEqual(
    (await own()).filter(({ verb }) => verb === 'list'),
    [],
  )
})

test('the broker lists pods and namespaces once each, and needs only the rights that the chart grants', async () => {
  await world.api.calls({ clear: true })
  await world.broker()
  const own = (await world.api.calls()).filter(({ user }) => user.endsWith(':broker'))
  assert.ok(own.every(({ allowed }) => allowed))
  const listed = own.filter(({ verb }) => verb === 'list').map(({ resource }) => resource)
  assert.deepEqual(listed.sort(), ['namespaces', 'pods'])
})

test('a token signed with a new key is accepted within seconds', async () => {
  await world.broker()
  await world.api.rotateKeys()
  const token = await world.token('shop', 'default', pod)
  await eventually('accepted', async () => (await world.code({ ...pod, token })) === 'ok', {
    deadlineMs: 15_000,
  })
  assert.equal(await world.code(pod), 'ok')
})

test('a key that is no longer published stops being accepted', async () => {
  const old = await world.pod('shop', `pod-${made++}`, { role: 'app' })
  await world.api.rotateKeys({ keepOld: false })
  await world.renewBrokerToken()
  await world.broker()
  assert.equal(await world.code(old), 'token-invalid')
  const token = await world.token('shop', 'default', pod)
  pod = { ...pod, token }
})

test('a JWKS endpoint that answers garbage does not affect pods whose key is known', async () => {
  const bodies = ['', 'null', '{"keys":[]}', '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}', '<html>', '[]']
  for (const body of bodies) {
    await world.api.clearFaults()
    await world.api.fault({ kind: 'body', body, match: { path: '/openid/v1/jwks' } })
    assert.equal(await world.code(pod), 'ok', body)
  }
  const broker = await world.brokerNotReady()
  await eventually('the reason is reported', () => broker.readiness().code === 'keys-unknown')
  const { status, body } = await eventually('listening', () =>
    broker.addresses().length > 0 ? world.ask(pod) : undefined,
  )
  assert.deepEqual([status, body.code], [503, 'busy'])
  await world.api.clearFaults()
  await eventually('ready', () => broker.readiness().ready)
})

test('the broker’s own token is read again when the API server refuses it', async () => {
  await world.api.rotateKeys({ keepOld: false })
  await world.renewBrokerToken()
  await world.api.cutWatches('reset')
  const fresh = await another()
  pod = { ...pod, token: await world.token('shop', 'default', pod) }
  await eventually('served', async () => (await world.code(fresh)) === 'ok', { deadlineMs: 15_000 })
})

test('a broker that has its credentials and metadata serves them while the metadata service is away', async () => {
  // This is answered when the first reading is over.
  assert.equal((await world.ask(pod, '/v1/metadata')).body['instance-type'], 'm5.large')
  await world.aws.fault({ service: 'imds', kind: 'unavailable' })
  const fresh = await another()
  assert.equal(await world.code(fresh), 'ok')
  assert.equal((await world.ask(fresh, '/v1/metadata')).body['instance-type'], 'm5.large')
})

test('a broker that starts without the metadata service is not ready, says why, and gets ready once it is back', async () => {
  await world.aws.fault({ service: 'imds', kind: 'unavailable' })
  const broker = await world.brokerNotReady()
  await eventually('the reason is reported', () => broker.readiness().code === 'node-credentials-unavailable')
  const { status, body } = await eventually('asked', () =>
    broker.addresses().length > 0 ? world.ask(pod) : undefined,
  )
  assert.deepEqual([status, body.code], [503, 'node-credentials-unavailable'])
  await world.aws.clearFaults()
  await eventually('ready', () => broker.readiness().ready)
  assert.equal(await world.code(pod), 'ok')
})
