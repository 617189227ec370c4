/** The API server, its keys, its watches and the metadata service go away and come back. */
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

test('while the API server is away, pods that are known keep being served, and a withdrawal is noticed when it is back', async () => {
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

test('while the API server is away, a pod the watch has not seen is told to retry', async () => {
  await world.api.refuse()
  const unseen = await another()
  const { status, body, headers } = await world.ask(unseen)
  assert.deepEqual([status, body.code], [503, 'busy'])
  assert.ok(headers['retry-after'])
  await world.api.accept()
  await eventually('served', async () => (await world.code(unseen)) === 'ok')
})

test('watches survive being ended, reset and expired, and an API server that starts again', async () => {
  for (const disturb of [
    () => world.api.cutWatches('clean'),
    () => world.api.cutWatches('reset'),
    () => world.api.cutWatches('expired'),
    () => world.api.compact().then(() => world.api.cutWatches('reset')),
    () => world.api.restart({ downMs: 50 }),
  ]) {
    await disturb()
    // Only the watch can tell that a label went: a live read is made for namespaces that are unknown.
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

test('a pod deleted while the watch was cut and history forgotten is noticed by the list that follows', async () => {
  const doomed = await another()
  await eventually('served', async () => (await world.code(doomed)) === 'ok')
  await world.api.refuse()
  await world.api.admin.delete('pods', doomed.name, 'shop', { gracePeriodSeconds: 0 })
  await world.api.compact()
  await world.api.accept()
  await eventually('gone', async () => (await world.code(doomed)) === 'pod-unknown')
})

test('while a watch hangs, a pod that is new or has another address is read live', async () => {
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

test('after a bookmark, a cut watch goes on without listing again, although older history is forgotten', async () => {
  const own = async () => (await world.api.calls()).filter(({ user }) => user.endsWith(':broker'))
  const open = async () =>
    (await own()).filter(({ verb, code }) => verb === 'watch' && code === 0).length === 2
  await world.api.calls({ clear: true })
  await world.broker()
  await eventually('both watches are open', open)
  await world.namespace(`noise-${made++}`, {})
  // What a watch was told before is too old from here on; the bookmark is not.
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

test('the broker lists and watches only its own pods and labelled namespaces, within the rights of the chart', async () => {
  await world.api.calls({ clear: true })
  await world.broker()
  const own = (await world.api.calls()).filter(({ user }) => user.endsWith(':broker'))
  assert.ok(own.every(({ allowed }) => allowed))
  const listed = own.filter(({ verb }) => verb === 'list').map(({ resource }) => resource)
  assert.deepEqual(listed.sort(), ['namespaces', 'pods'])
})

test('a token signed with a brand-new key is accepted at once', async () => {
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

test('a JWKS endpoint that answers garbage takes nothing away from pods whose key is known', async () => {
  const bodies = ['', 'null', '{"keys":[]}', '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}', '<html>', '[]']
  for (const body of bodies) {
    await world.api.clearFaults()
    await world.api.fault({ kind: 'body', body, match: { path: '/openid/v1/jwks' } })
    assert.equal(await world.code(pod), 'ok', body)
  }
  const broker = await world.brokerNotReady()
  await eventually('told', () => broker.readiness().code === 'keys-unknown')
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

test('the metadata service going away takes nothing from a broker that has its credentials', async () => {
  // Answered when the first reading is over.
  assert.equal((await world.ask(pod, '/v1/metadata')).body['instance-type'], 'm5.large')
  await world.aws.fault({ service: 'imds', kind: 'unavailable' })
  const fresh = await another()
  assert.equal(await world.code(fresh), 'ok')
  assert.equal((await world.ask(fresh, '/v1/metadata')).body['instance-type'], 'm5.large')
})

test('a broker that starts without metadata service is not ready, says why, and gets ready', async () => {
  await world.aws.fault({ service: 'imds', kind: 'unavailable' })
  const broker = await world.brokerNotReady()
  await eventually('told', () => broker.readiness().code === 'node-credentials-unavailable')
  const { status, body } = await eventually('asked', () =>
    broker.addresses().length > 0 ? world.ask(pod) : undefined,
  )
  assert.deepEqual([status, body.code], [503, 'node-credentials-unavailable'])
  await world.aws.clearFaults()
  await eventually('ready', () => broker.readiness().ready)
  assert.equal(await world.code(pod), 'ok')
})
