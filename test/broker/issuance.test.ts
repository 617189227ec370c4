/** Sessions from STS, and failures of STS, through the whole broker. */
import assert from 'node:assert/strict'
import { after, afterEach, before, mock, test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { eventually } from '../support/until.ts'
import { type PodOptions, World } from './world.ts'

let world: World
let made = 0

before(async () => {
  world = await World.start()
  await Promise.all([world.role('app'), world.namespace('shop')])
  await world.broker()
})
after(() => world.stop())
afterEach(() => world.aws.clearFaults())

const pod = (options: PodOptions = {}) => world.pod('shop', `pod-${made++}`, { role: 'app', ...options })

test('fifty requests of one pod at once make one STS call', async () => {
  const one = await pod()
  await world.aws.fault({ service: 'sts', kind: 'slow', ms: 50 })
  // A pod may have eight connections, so requests follow one another on each of them.
  const answers = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const codes: string[] = []
      for (let index = 0; index < 6; index++) codes.push(await world.code(one))
      return codes
    }),
  )
  assert.deepEqual(new Set(answers.flat()), new Set(['ok']))
  assert.equal((await world.aws.calls({ session: `shop.${one.name}` })).length, 1)
})

test('the refusal of a role that does not trust the node names both roles and the missing statement, also in an Event', async () => {
  await world.role('distrusting', { principal: 'arn:aws:iam::111111111111:role/somebody' })
  const one = await pod({ role: 'distrusting' })
  const { status, body, headers } = await world.ask(one)
  assert.deepEqual([status, body.code], [403, 'sts-denied'])
  assert.match(
    body.detail ?? '',
    /role\/node assume arn:aws:iam::111111111111:role\/distrusting.*\{"Effect":"Allow","Principal":\{"AWS":"arn:aws:iam::111111111111:role\/node"\},"Action":"sts:AssumeRole"\}/,
  )
  assert.ok(Number(headers['retry-after']) >= 2)
  assert.equal(await world.code(one), 'sts-denied')
  assert.equal((await world.aws.calls({ role: 'distrusting' })).length, 1)
  await eventually('an Event', async () => {
    const { items } = await world.api.admin.list('events', { namespace: 'shop' })
    return items.some((event) => JSON.stringify(event).includes('AssumeRoleDenied'))
  })
})

test('a wrong external id is denied, and not shown in the answer, the log or an Event', async () => {
  await world.role('with-id', { externalId: 'right' })
  const one = await pod({ role: 'with-id', annotations: { [KEYS.externalId]: 'wrong-secret-id' } })
  const { body } = await world.ask(one)
  assert.equal(body.code, 'sts-denied')
  assert.match(body.detail ?? '', /sts:ExternalId/)
  const { items } = await world.api.admin.list('events', { namespace: 'shop' })
  assert.ok(!JSON.stringify([body, world.logs, items]).includes('wrong-secret-id'))
  assert.ok(!(await world.metrics()).includes('wrong-secret-id'))
})

test('throttling, an outage and a closed connection give 503 at once, and the pod is served after them', async () => {
  for (const [kind, code] of [
    ['throttle', 'sts-throttled'],
    ['unavailable', 'sts-unavailable'],
    ['close', 'sts-unavailable'],
  ] as const) {
    const one = await pod()
    await world.aws.fault({ service: 'sts', kind })
    const { status, body, headers } = await world.ask(one)
    assert.deepEqual([status, body.code], [503, code])
    assert.equal(headers['retry-after'], '1')
    await world.aws.clearFaults()
    await eventually('passed', async () => (await world.code(one)) === 'ok')
  }
})

test('an STS call whose connection is cut once is repeated at once', async () => {
  const one = await pod()
  await world.aws.fault({ service: 'sts', kind: 'close', calls: 1 })
  assert.equal(await world.code(one), 'ok')
})

test('a call that hangs is given up, and does not delay the credentials of other pods', async () => {
  await world.role('slow')
  const [one, other] = [await pod({ role: 'slow' }), await pod()]
  await world.aws.fault({ service: 'sts', kind: 'hang', role: 'slow' })
  const hanging = world.ask(one)
  assert.equal(await world.code(other), 'ok')
  const { status, body } = await hanging
  assert.deepEqual([status, body.code], [503, 'sts-unavailable'])
})

test('cached credentials are served while STS is down', async () => {
  const one = await pod()
  assert.equal(await world.code(one), 'ok')
  await world.aws.fault({ service: 'sts', kind: 'unavailable' })
  assert.equal(await world.code(one), 'ok')
})

test('expired node credentials are fetched again within the request', async () => {
  await world.aws.rotateNodeCredentials({ expireOld: true })
  assert.equal(await world.code(await pod()), 'ok')
})

test('a refusal of the node’s credentials by STS is reported as such', async () => {
  const one = await pod()
  await world.aws.fault({
    service: 'sts',
    kind: 'error',
    status: 403,
    code: 'InvalidClientTokenId',
    message: 'no',
  })
  const { status, body } = await world.ask(one)
  assert.deepEqual([status, body.code], [503, 'node-credentials-unavailable'])
})

test('a session longer than an hour falls back to one hour where AWS counts the node role as chaining', async () => {
  await world.aws.putRole({
    arn: 'long',
    maxSessionDuration: 43_200,
    trustPolicy: {
      Statement: [
        { Effect: 'Allow', Principal: { AWS: world.aws.config.nodeRoleArn }, Action: 'sts:AssumeRole' },
      ],
    },
  })
  await world.broker('--session-duration=7200')
  await world.aws.setSts({ instanceProfileIsChaining: true })
  const [one, two] = [await pod({ role: 'long' }), await pod({ role: 'long' })]
  assert.equal(await world.code(one), 'ok')
  assert.equal(await world.code(two), 'ok')
  const durations = (await world.aws.calls({ role: 'long' })).map(({ duration }) => duration)
  assert.deepEqual(durations, [7200, 3600, 3600])
  await world.aws.setSts({ instanceProfileIsChaining: false })
  const { body } = await world.ask(await pod({ role: 'app' }))
  assert.equal(body.code, 'sts-invalid')
  assert.match(body.detail ?? '', /MaxSessionDuration/)
  await world.broker()
})

test('session tags are those of EKS Pod Identity, and sent only when they are switched on', async () => {
  const without = await pod()
  assert.equal(await world.code(without), 'ok')
  await world.broker('--session-tags', '--cluster-name=prod')
  const tagged = await pod({ serviceAccount: 'till' })
  assert.equal(await world.code(tagged), 'ok')
  await world.broker()
  const tagsOf = async (name: string) => (await world.aws.calls({ session: `shop.${name}` }))[0]?.tags
  assert.deepEqual(await tagsOf(without.name), {})
  assert.deepEqual(await tagsOf(tagged.name), {
    'eks-cluster-name': 'prod',
    'kubernetes-namespace': 'shop',
    'kubernetes-service-account': 'till',
    'kubernetes-pod-name': tagged.name,
    'kubernetes-pod-uid': tagged.uid,
  })
})

test('with session scope role, pods of one role share a session, and a session name is refused', async () => {
  await world.role('shared')
  await world.broker('--session-scope=role')
  const [one, two] = [await pod({ role: 'shared' }), await pod({ role: 'shared' })]
  const [first, second] = await Promise.all([world.ask(one), world.ask(two)])
  assert.equal(first.body.AccessKeyId, second.body.AccessKeyId)
  const [call, ...more] = await world.aws.calls({ role: 'shared' })
  assert.deepEqual([call?.session, more.length], ['pod2iam.node-1', 0])
  const named = await pod({ role: 'shared', annotations: { [KEYS.sessionName]: 'x' } })
  assert.equal(await world.code(named), 'role-not-allowed')
  await world.broker()
})

test('with --assume-role-arn, all pod roles are assumed by that role, which no pod gets', async () => {
  const hop = await world.role('hop')
  await world.aws.putRole({
    arn: 'hop',
    trustPolicy: {
      Statement: [
        { Effect: 'Allow', Principal: { AWS: world.aws.config.nodeRoleArn }, Action: 'sts:AssumeRole' },
      ],
    },
    policy: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Resource: '*' }],
  })
  await world.role('behind', { principal: hop })
  await world.broker(`--assume-role-arn=${hop}`)
  const [one, two] = [await pod({ role: 'behind' }), await pod({ role: 'behind' })]
  assert.equal(await world.code(one), 'ok')
  assert.equal(await world.code(two), 'ok')
  const calls = await world.aws.calls({ role: 'behind' })
  assert.ok(calls.every(({ caller }) => caller?.includes(':assumed-role/hop/')))
  assert.equal((await world.aws.calls({ role: 'hop' })).length, 1)
  assert.equal(await world.code(await pod({ role: 'hop' })), 'role-not-allowed')
  const denied = await world.ask(await pod({ role: 'app' }))
  assert.equal(denied.body.code, 'sts-denied')
  assert.ok(denied.body.detail?.includes(`"AWS":"${hop}"`))
  await world.broker()
})

test('the session of --assume-role-arn is renewed before it ends, and at once when STS does not accept it any more', async () => {
  const hop = world.aws.roleArn('hop')
  await world.guard({ validSeconds: 86_400 })
  await world.broker(`--assume-role-arn=${hop}`)
  await world.aws.clearRecords()
  const code = async () => world.code(await pod({ role: 'behind' }))
  const outcomes = async () =>
    new Set((await world.aws.calls({ action: 'AssumeRole' })).map(({ outcome }) => outcome))
  assert.equal(await code(), 'ok')
  const later = 56 * 60_000
  try {
    mock.timers.enable({ apis: ['Date'], now: Date.now() + later })
    await world.aws.setClockOffset(later)
    assert.equal(await code(), 'ok')
    assert.equal((await world.aws.calls({ role: 'hop' })).length, 2)
    assert.deepEqual(await outcomes(), new Set(['Success']))
    await world.aws.expireSessions({ role: 'hop' })
    assert.equal(await code(), 'ok')
    assert.equal((await world.aws.calls({ role: 'hop' })).length, 3)
  } finally {
    mock.timers.reset()
    await world.aws.setClockOffset(0)
    await world.guard()
    await world.broker()
  }
})

test('a role of --assume-role-arn that cannot be assumed is reported as a problem of the node, not of the pod', async () => {
  const hop = await world.role('closed-hop', { principal: 'arn:aws:iam::111111111111:role/somebody' })
  await world.broker(`--assume-role-arn=${hop}`)
  const { status, body } = await world.ask(await pod())
  assert.deepEqual([status, body.code], [503, 'node-credentials-unavailable'])
  assert.match(body.detail ?? '', /--assume-role-arn .*closed-hop could not be assumed/)
  await world.broker()
})

test('with static keys from the environment, the broker determines its identity by STS', async () => {
  const user = await world.aws.putUser({
    name: 'outside',
    policy: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Resource: '*' }],
  })
  await world.role('for-user', { principal: user.arn })
  process.env.AWS_ACCESS_KEY_ID = user.accessKeyId
  process.env.AWS_SECRET_ACCESS_KEY = user.secretAccessKey
  try {
    await world.broker()
    const { status, body } = await world.ask(await pod({ role: 'for-user' }))
    assert.deepEqual([status, body.Role], [200, 'for-user'])
  } finally {
    delete process.env.AWS_ACCESS_KEY_ID
    delete process.env.AWS_SECRET_ACCESS_KEY
    await world.broker()
  }
})

test('metrics count STS calls, cache results and refusals, and no label names a pod, role or ARN', async () => {
  await world.code(await pod({ role: 'distrusting' }))
  const text = await world.metrics()
  assert.match(text, /pod2iam_broker_sts_calls_total\{outcome="denied"\} [1-9]/)
  assert.match(text, /pod2iam_broker_requests_total\{path="credentials",code="sts-denied"\} [1-9]/)
  assert.match(text, /pod2iam_broker_watch_age_seconds\{watch="pods"\} \d/)
  assert.match(text, /pod2iam_broker_cache_total\{outcome="miss"\} [1-9]/)
  assert.doesNotMatch(text, /arn:|distrusting|shop|pod-\d/)
})

test('a pod gets only the metadata on the allow-list', async () => {
  const { status, body } = await world.ask(await pod(), '/v1/metadata')
  assert.equal(status, 200)
  const families = new Set(Object.keys(body).map((path) => path.split('/')[0]))
  assert.deepEqual([...families].sort(), [
    'ami-id',
    'ami-launch-index',
    'ami-manifest-path',
    'block-device-mapping',
    'dynamic',
    'events',
    'hostname',
    'instance-action',
    'instance-id',
    'instance-life-cycle',
    'instance-type',
    'local-hostname',
    'local-ipv4',
    'mac',
    'metrics',
    'network',
    'placement',
    'profile',
    'public-hostname',
    'public-ipv4',
    'reservation-id',
    'security-groups',
    'services',
    'system',
  ])
  assert.equal(JSON.parse(body['dynamic/instance-identity/document'] ?? '').region, 'eu-west-1')
  assert.ok(Object.keys(body).some((path) => /^network\/interfaces\/macs\/[0-9a-f:]+\/vpc-id$/.test(path)))
  assert.doesNotMatch(
    JSON.stringify(body),
    /user-data|iam\/|signature|pkcs7|public-keys|ssh|tags\/|autoscaling|rebalance/,
  )
  // Of the addresses of the node's interface, only its own one is served: the others belong to pods.
  assert.doesNotMatch(JSON.stringify(body), /10\.0\.0\.11[12]|10\.0\.0\.224/)
})

test('the first metadata a pod gets is complete, even from a slow metadata service', async () => {
  await world.aws.fault({ service: 'imds', kind: 'slow', ms: 50 })
  await world.broker()
  const { status, body } = await world.ask(await pod(), '/v1/metadata')
  assert.deepEqual([status, body['instance-type'], body['placement/region']], [200, 'm5.large', 'eu-west-1'])
})

test('metadata that may announce events may be cached for 15 seconds, other metadata and credentials not at all', async () => {
  const cacheControl = async (path?: string) => (await world.ask(await pod(), path)).headers['cache-control']
  assert.equal(await cacheControl('/v1/metadata'), 'no-store')
  for (const [allowed, expected] of [
    ['spot/', 'private, max-age=15'],
    ['tags/instance/,events/maintenance/', 'private, max-age=15'],
    ['tags/instance/', 'no-store'],
  ]) {
    await world.broker(`--metadata-allow=${allowed}`)
    assert.equal(await eventually('metadata', () => cacheControl('/v1/metadata')), expected, allowed)
    assert.equal(await cacheControl(), 'no-store')
  }
})

test('an operator may allow instance tags, but never credentials or proofs of the node’s identity', async () => {
  await world.aws.setImds({ instanceTags: { team: 'shop' } })
  await world.broker('--metadata-allow=tags/instance/')
  const { body } = await eventually('tags', async () => {
    const answer = await world.ask(await pod(), '/v1/metadata')
    return answer.body['tags/instance/team'] ? answer : undefined
  })
  assert.equal(body['tags/instance/team'], 'shop')
  for (const prefix of [
    'iam/',
    'iam/info',
    '/iam',
    'identity-credentials/',
    'user-data',
    'dynamic/',
    'a/../iam/',
    '',
  ])
    if (prefix)
      assert.throws(() => world.settings(`--metadata-allow=${prefix}`), /metadata-allow has/, prefix)
})

test('a node whose clock is ten minutes ahead or behind gets credentials nevertheless', async () => {
  for (const offset of [10 * 60_000, -10 * 60_000]) {
    await world.aws.setClockOffset(offset)
    try {
      const { status, body } = await world.ask(await pod())
      assert.equal(status, 200, body.detail)
    } finally {
      await world.aws.setClockOffset(0)
    }
  }
})
