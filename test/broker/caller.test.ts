/** The broker's own role changes while it runs: another instance profile is attached to the node. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { assumer } from '../../node-guard/broker/aws/assume.ts'
import type { AwsNode } from '../../node-guard/broker/aws/discover-node.ts'
import { followCaller } from '../../node-guard/broker/aws/follow-caller.ts'
import type { Sts } from '../../node-guard/broker/aws/sts-client.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { silentLog } from '../support/log.ts'
import { eventually } from '../support/until.ts'
import { World } from './world.ts'

let world: World

before(async () => {
  world = await World.start()
  const node = world.aws.config.nodeRoleArn
  await world.namespace('shop')
  await world.aws.putRole({
    arn: 'node-2',
    trustPolicy: { Statement: [{ Effect: 'Allow', Principal: { AWS: node }, Action: 'sts:AssumeRole' }] },
    policy: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Resource: '*' }],
  })
  await world.role('app', { principal: world.aws.roleArn('node-2') })
  await world.role('old')
})
after(() => world.stop())

test('after another instance profile is attached, its role is the node’s own and is named as the caller', async () => {
  await world.broker()
  const own = await world.pod('shop', 'own', { role: 'node-2' })
  assert.equal(await world.code(own), 'ok')
  const app = await world.pod('shop', 'app', { role: 'app' })
  assert.equal(await world.code(app), 'sts-denied')

  await world.aws.rotateNodeCredentials({ expireOld: true })
  await world.aws.attachInstanceProfile('node-2')
  await world.aws.expireSessions({ role: 'node' })
  const another = await world.pod('shop', 'another', { role: 'app' })
  assert.equal(await world.code(another), 'ok')
  assert.equal(await world.code(own), 'role-not-allowed')
  const denied = await world.ask(await world.pod('shop', 'denied', { role: 'old' }))
  assert.equal(denied.body.code, 'sts-denied')
  assert.match(
    denied.body.detail ?? '',
    /role\/node-2 assume .*"AWS":"arn:aws:iam::111111111111:role\/node-2"/,
  )
  // The former role of the node is a role like any other now, which here trusts nobody.
  assert.equal(await world.code(await world.pod('shop', 'former', { role: 'node' })), 'sts-denied')
})

test('STS is never called for the node’s new role with the credentials of that role', async () => {
  await world.aws.attachInstanceProfile('node')
  await world.aws.rotateNodeCredentials({ expireOld: true })
  await world.broker()
  assert.equal(await world.code(await world.pod('shop', 'before', { role: 'node-2' })), 'ok')
  await world.aws.rotateNodeCredentials({ expireOld: true })
  await world.aws.attachInstanceProfile('node-2')
  await world.aws.expireSessions({ role: 'node' })
  await world.aws.clearRecords()
  // The first request that makes the broker use the new credentials is for their own role, which no pod may have.
  const own = await world.pod('shop', 'first', { role: 'node-2' })
  await eventually('refused', async () => (await world.code(own)) === 'role-not-allowed')
  const calls = await world.aws.calls({})
  assert.deepEqual(
    calls.filter(({ action }) => action === 'AssumeRole').map(({ outcome }) => outcome),
    ['ExpiredToken'],
    'only with the old credentials',
  )
})

const REQUEST = {
  roleArn: 'arn:aws:iam::111111111111:role/app',
  externalId: undefined,
  sessionName: 's',
  tags: [],
  ...{ sourceIdentity: undefined, policyArns: [] },
  durationSeconds: 3600,
}
const SESSION = { accessKeyId: 'a', secretAccessKey: 's', sessionToken: 't', expiration: 1 }

test('before every STS call, also after a renewal of credentials, the caller is determined and the permission is checked', async () => {
  const steps: string[] = []
  let wanted = true
  const expired = Object.assign(new Error('expired'), {
    name: 'ExpiredToken',
    $metadata: { httpStatusCode: 403 },
  })
  const sts = {
    assumeRole: async () => {
      steps.push('call')
      if (steps.length < 3) throw expired
      return SESSION
    },
    accessKeyId: async () => 'K1',
    callerArn: () => assert.fail('not asked'),
    renewCredentials: async () => void steps.push('renew'),
    close: () => {},
  }
  const follow = async () => void steps.push('follow')
  assert.equal(await assumer(sts, () => {}, follow)(REQUEST, () => wanted), SESSION)
  assert.deepEqual(steps, ['follow', 'call', 'renew', 'follow', 'call'])

  steps.length = 0
  const loses = async () => {
    steps.push('follow')
    wanted = !steps.includes('renew')
  }
  await assert.rejects(
    assumer(sts, () => {}, loses)(REQUEST, () => wanted),
    { code: 'busy' },
  )
  assert.deepEqual(
    steps,
    ['follow', 'call', 'renew', 'follow'],
    'a role that is no longer granted is not requested',
  )
})

/** Credentials and a metadata service that the test controls. */
function following() {
  const clock = fakeClock()
  const stopping = new AbortController()
  const state = { keyId: 'K1', profile: 'node', next: 'K2', asked: 0, renewed: 0, fail: false }
  const sts: Sts = {
    assumeRole: () => assert.fail('not asked'),
    accessKeyId: async () => state.keyId,
    callerArn: async () => {
      state.asked++
      if (state.fail) throw new Error('STS is away')
      return `arn:aws:sts::111111111111:assumed-role/${state.keyId === 'K1' ? 'node' : 'other'}/i-1`
    },
    renewCredentials: async () => {
      if (state.fail) throw new Error('IMDS is away')
      state.renewed++
      state.keyId = state.next
    },
    close: () => {},
  }
  const imds = {
    get: async (path: string) => (path.endsWith('security-credentials/') ? state.profile : undefined),
    close: () => {},
  }
  const node: AwsNode = {
    region: 'eu-west-1',
    sts,
    keyId: 'K1',
    caller: {
      arn: 'arn:aws:iam::111111111111:role/node',
      base: 'arn:aws:iam::111111111111:role/',
      role: { account: '111111111111', name: 'node' },
    },
  }
  const changes: string[] = []
  const follow = followCaller(node, imds, { clock, log: silentLog, signal: stopping.signal }, ({ caller }) =>
    changes.push(caller.role.name),
  )
  return { clock, state, follow, changes, stop: () => stopping.abort() }
}

test('STS is not asked for the caller while the credentials are the same', async () => {
  const { follow, state, clock, stop } = following()
  await follow()
  await clock.advance(3_600_000)
  await follow()
  assert.equal(state.asked, 0)
  stop()
})

test('STS is asked for the caller once for new credentials, however many calls wait, and only another role is a change', async () => {
  const { follow, state, changes, stop } = following()
  state.keyId = 'K2'
  await Promise.all([follow(), follow(), follow()])
  state.keyId = 'K3'
  await follow()
  await follow()
  assert.deepEqual([state.asked, changes], [2, ['other']])
  stop()
})

test('no call is made with new credentials whose caller cannot be determined', async () => {
  const { follow, state, changes, stop } = following()
  state.keyId = 'K2'
  state.fail = true
  await assert.rejects(follow(), /STS is away/)
  await assert.rejects(follow(), /STS is away/)
  state.fail = false
  await follow()
  assert.deepEqual(changes, ['other'])
  stop()
})

test('a new profile is noticed within six minutes while the old credentials are valid, and retried until it is known', async () => {
  const { state, clock, changes, stop } = following()
  await setImmediate()
  state.profile = 'other'
  state.fail = true
  await clock.advance(6 * 60_000)
  assert.deepEqual(changes, [])
  state.fail = false
  await clock.advance(6 * 60_000)
  assert.deepEqual(changes, ['other'])
  // A known profile does not make the credentials be fetched again.
  await clock.advance(60 * 60_000)
  assert.equal(state.renewed, 1)
  stop()
})
