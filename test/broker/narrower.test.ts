/** Sessions with session policies, tags and source identities, over TCP and with an AWS that evaluates them. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { KEYS } from '../../common/keys.ts'
import { eventually } from '../support/until.ts'
import { type Answer, type PodOptions, World } from './world.ts'

const ROLE = 'arn:aws:iam::111111111111:role/'
const LOGS = 'arn:aws:iam::111111111111:policy/logs'
const NEXT = 'arn:aws:iam::aws:policy/next'
const TEMPLATE = '--source-identity={namespace}.{service-account}'

describe('with narrower sessions', () => {
  let world: World
  let made = 0

  before(async () => {
    world = await World.start()
    await Promise.all([world.namespace('shop'), world.namespace('other')])
  })
  after(() => world.stop())
  beforeEach(async () => {
    await world.aws.reset()
    const { aws } = world
    await aws.putManagedPolicy({
      arn: LOGS,
      statements: [{ Effect: 'Allow', Action: 'logs:PutLogEvents', Resource: '*' }],
    })
    await aws.putManagedPolicy({
      arn: NEXT,
      statements: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Resource: `${ROLE}next` }],
    })
    // The role may assume two others, which shows the rights of a session.
    await aws.putRole({
      arn: 'app',
      trustPolicy: { Statement: [{ Effect: 'Allow', Principal: { AWS: `${ROLE}node` }, Action: 'sts:*' }] },
      policy: [{ Effect: 'Allow', Action: 'sts:*', Resource: '*' }],
    })
    for (const arn of ['next', 'last'])
      await aws.putRole({
        arn,
        trustPolicy: {
          Statement: [{ Effect: 'Allow', Principal: { AWS: '111111111111' }, Action: 'sts:*' }],
        },
        policy: [{ Effect: 'Allow', Action: 'sts:*', Resource: '*' }],
      })
  })

  const pod = (options: PodOptions = {}, namespace = 'shop') =>
    world.pod(namespace, `pod-${made++}`, { role: 'app', ...options })
  const narrowed = (arns: readonly string[], options: PodOptions = {}) => {
    const annotations = { ...options.annotations, [KEYS.sessionPolicyArns]: JSON.stringify(arns) }
    return pod({ ...options, annotations })
  }
  /** Whether a pod may assume a role with its credentials; `GetCallerIdentity` needs no right. */
  const mayAssume = async ({ body }: Answer, role: string): Promise<boolean> => {
    assert.ok(body.AccessKeyId && body.SecretAccessKey && body.Token, JSON.stringify(body))
    const credentials = {
      ...{ accessKeyId: body.AccessKeyId, secretAccessKey: body.SecretAccessKey },
      sessionToken: body.Token,
    }
    const client = new STSClient({ region: 'eu-west-1', credentials, maxAttempts: 1 })
    const { Arn } = await client.send(new GetCallerIdentityCommand({}))
    assert.match(Arn ?? '', /:assumed-role\/app\//)
    const input = { RoleArn: ROLE + role, RoleSessionName: 'again' }
    return client.send(new AssumeRoleCommand(input)).then(
      () => true,
      (error: Error) => {
        assert.match(error.name, /AccessDenied/)
        return false
      },
    )
  }

  test('a pod’s session has the rights of its role that one of its session policies allows, and all rights without such policies', async () => {
    await world.broker()
    for (const [arns, next, last] of [
      [[], true, true],
      [[LOGS], false, false],
      [[NEXT], true, false],
      [[LOGS, NEXT], true, false],
    ] as const) {
      const one = arns.length === 0 ? await pod() : await narrowed(arns)
      const answer = await world.ask(one)
      assert.deepEqual([await mayAssume(answer, 'next'), await mayAssume(answer, 'last')], [next, last])
      const [call] = await world.aws.calls({ session: `shop.${one.name}` })
      assert.deepEqual(call?.policyArns, arns)
      const line = world.logs.find(({ uid, audit }) => audit && uid === one.uid)
      assert.deepEqual(line?.sessionPolicies, arns.length === 0 ? undefined : arns)
    }
  })

  test('pods with other session policies do not share a session, also with session scope role', async () => {
    await world.broker('--session-scope=role')
    const keys = []
    for (const one of [
      await pod(),
      await pod(),
      await narrowed([LOGS]),
      await narrowed([LOGS]),
      await narrowed([NEXT]),
      await narrowed([LOGS, NEXT]),
    ])
      keys.push((await world.ask(one)).body.AccessKeyId)
    const [plain, plainToo, logs, logsToo, next, both] = keys
    assert.deepEqual([plain, logs], [plainToo, logsToo])
    assert.equal(new Set([plain, logs, next, both]).size, 4)
    assert.equal((await world.aws.calls({ role: 'app' })).length, 4)
  })

  test('the session of a starting pod is fetched ahead with its session policies', async () => {
    await world.broker()
    const one = await narrowed([LOGS], { podIPs: [], phase: 'Pending', hostIP: '10.0.0.1' })
    const call = await eventually('fetched', async () => (await world.aws.calls({}))[0])
    assert.deepEqual([call.session, call.policyArns], [`shop.${one.name}`, [LOGS]])
  })

  test('a running pod whose session policies are changed, added or removed is refused', async () => {
    await world.broker()
    for (const [before, after] of [
      [JSON.stringify([LOGS]), JSON.stringify([NEXT])],
      [JSON.stringify([LOGS]), null],
      [undefined, JSON.stringify([LOGS])],
    ] as const) {
      const one = await pod(before === undefined ? {} : { annotations: { [KEYS.sessionPolicyArns]: before } })
      assert.equal(await world.code(one), 'ok')
      const metadata = { annotations: { [KEYS.sessionPolicyArns]: after } }
      await world.api.admin.patch('pods', one.name, 'shop', { metadata }, { type: 'merge' })
      await eventually('refused', async () => (await world.code(one)) === 'identity-changed')
      const { body } = await world.ask(one)
      assert.match(body.detail ?? '', /annotation iam\.amazonaws\.com\/session-policy-arns of pod shop\//)
    }
  })

  test('a sidecar whose env has policies that do not match its source does not count as one by the injector', async () => {
    await world.broker()
    const annotations = { [KEYS.sessionPolicyArns]: JSON.stringify([LOGS]) }
    const env = (source: string, policies?: string) => [
      { name: 'POD2IAM_IDENTITY', value: source },
      { name: 'POD2IAM_ROLE', value: 'app' },
      ...(policies === undefined ? [] : [{ name: 'POD2IAM_SESSION_POLICIES', value: policies }]),
    ]
    const text = annotations[KEYS.sessionPolicyArns]
    for (const [own, code] of [
      // As created by an injector that does not know the annotation.
      [env('annotation'), 'identity-changed'],
      [env('annotation', text), 'pod-not-injected'],
      [env('annotation-narrowed'), 'pod-not-injected'],
      [env('annotation-narrowed', JSON.stringify([NEXT])), 'identity-changed'],
      [env('annotation-narrowed', text), 'ok'],
    ] as const)
      assert.equal(await world.code(await pod({ annotations, container: { env: own } })), code)
  })

  test('an annotation that is not a list of policies of the role’s account is refused, never ignored', async () => {
    await world.broker()
    for (const [text, reason] of [
      ['[]', /must name 1 to 10/],
      [LOGS, /must be a JSON array/],
      [JSON.stringify([LOGS, LOGS]), /twice/],
      ['["arn:aws:iam::222222222222:policy/logs"]', /neither in the account of role/],
    ] as const) {
      const one = await pod({ annotations: { [KEYS.sessionPolicyArns]: text } })
      const { body } = await world.ask(one)
      assert.equal(body.code, 'role-not-allowed')
      assert.match(body.detail ?? '', reason)
      assert.deepEqual(await world.aws.calls({ session: `shop.${one.name}` }), [])
    }
    const long = await narrowed([`${LOGS}${'x'.repeat(2048)}`])
    assert.equal(await world.code(long), 'identity-changed')
  })

  test('the refusal for a missing policy, or for more policies than AWS packs, says the remedy', async () => {
    await world.broker('--session-tags', `--extra-session-tags=${manyTags()}`)
    const missing = await world.ask(await narrowed([LOGS, `${LOGS}-not-there`], {}))
    assert.equal(missing.body.code, 'sts-invalid')
    assert.match(
      missing.body.detail ?? '',
      /with the session policies arn:.*logs, arn:.*logs-not-there: each of them must exist in account 111111111111 \(annotation iam/,
    )
    const long = Array.from({ length: 10 }, (_, index) =>
      `${LOGS}/${'x'.repeat(120)}-${index}`.replace('logs/', ''),
    )
    for (const arn of long)
      await world.aws.putManagedPolicy({ arn, statements: [{ Effect: 'Allow', Action: '*', Resource: '*' }] })
    const large = await world.ask(await narrowed(long))
    assert.equal(large.body.code, 'sts-invalid')
    assert.match(large.body.detail ?? '', /together more than AWS packs into a session: name fewer policies/)
  })

  test('with web identity, session policies work as well, and tags and source identities are refused', async () => {
    await world.federatedRole('web', 'system:serviceaccount:shop:default')
    const both = '--credential-sources=node-role,web-identity'
    await world.broker(both)
    const one = await narrowed([LOGS], { role: 'web', source: 'web-identity' })
    assert.equal(await world.code(one), 'ok')
    const [session] = await world.aws.sessions({ role: 'web' })
    assert.deepEqual([session?.by, session?.policyArns], ['web-identity', [LOGS]])
    const { body } = await world.ask(await narrowed([`${LOGS}x`], { role: 'web', source: 'web-identity' }))
    assert.match(body.detail ?? '', /each of them must exist in account 111111111111/)
    for (const [mark, what] of [
      ['--extra-session-tags=a=b', /the session tags of --extra-session-tags cannot be given/],
      [TEMPLATE, /the source identity of --source-identity cannot be given/],
    ] as const) {
      await world.broker(both, mark)
      const refused = await world.ask(await pod({ role: 'web', source: 'web-identity' }))
      assert.equal(refused.body.code, 'role-not-allowed')
      assert.match(refused.body.detail ?? '', what)
    }
  })

  test('session tags are the six of EKS Pod Identity and those of the operator, which may also be used alone', async () => {
    const arn = 'arn:aws:eks:eu-west-1:111111111111:cluster/prod'
    await world.broker('--session-tags', `--cluster-arn=${arn}`, '--extra-session-tags=team=platform,x=')
    const one = await pod({ serviceAccount: 'till' })
    assert.equal(await world.code(one), 'ok')
    const tagsOf = async (name: string) => (await world.aws.calls({ session: `shop.${name}` }))[0]?.tags
    const own = { team: 'platform', x: '' }
    assert.deepEqual(await tagsOf(one.name), {
      ...{ 'eks-cluster-arn': arn, 'eks-cluster-name': 'prod', 'kubernetes-namespace': 'shop' },
      ...{ 'kubernetes-service-account': 'till', 'kubernetes-pod-name': one.name },
      ...{ 'kubernetes-pod-uid': one.uid, ...own },
    })
    await world.role('untagged', { tags: false })
    const { body } = await world.ask(await pod({ role: 'untagged' }))
    assert.match(body.detail ?? '', /"Action":\["sts:AssumeRole","sts:TagSession"\].*sts:TagSession on/)
    await world.broker('--session-scope=role', '--extra-session-tags=team=platform')
    assert.equal(await world.code(await pod()), 'ok')
    assert.deepEqual((await world.aws.calls({ session: 'pod2iam.node-1' }))[0]?.tags, { team: 'platform' })
  })

  test('a role that demands the source identity of a service account is given only to its pods', async () => {
    await world.role('till', { sourceIdentity: 'shop.till' })
    await world.broker()
    const without = await world.ask(await pod({ role: 'till', serviceAccount: 'till' }))
    assert.equal(without.body.code, 'sts-denied')
    await world.broker(TEMPLATE)
    const one = await pod({ role: 'till', serviceAccount: 'till' })
    assert.equal(await world.code(one), 'ok')
    const [session] = await world.aws.sessions({ session: `shop.${one.name}` })
    assert.equal(session?.sourceIdentity, 'shop.till')
    for (const other of [
      await pod({ role: 'till', serviceAccount: 'other' }),
      await pod({ role: 'till', serviceAccount: 'till' }, 'other'),
    ])
      assert.equal(await world.code(other), 'sts-denied')
  })

  test('the refusal says that the source identity may not be set, or that the broker’s session already has one', async () => {
    await world.role('closed')
    await world.broker(TEMPLATE)
    const denied = await world.ask(await pod({ role: 'closed' }))
    assert.equal(denied.body.code, 'sts-denied')
    assert.match(
      denied.body.detail ?? '',
      /does not let .*role\/node set the source identity shop\.default \(--source-identity\) for .*role\/closed; .*"sts:SetSourceIdentity"\]/,
    )
    // The broker's credentials are a session that already has a source identity.
    const taken = await narrowedCaller()
    Object.assign(process.env, taken)
    try {
      await world.broker(TEMPLATE)
      const refused = await world.ask(await pod({ role: 'next' }))
      assert.equal(refused.body.code, 'sts-denied')
      assert.match(refused.body.detail ?? '', /has a source identity already, AWS accepts no other one/)
    } finally {
      for (const name of Object.keys(taken)) delete process.env[name]
    }
  })

  /** Credentials of a session with a source identity, as environment variables. */
  async function narrowedCaller(): Promise<Record<string, string>> {
    const keys = await world.aws.putUser({
      name: 'jane',
      policy: [{ Effect: 'Allow', Action: 'sts:*', Resource: '*' }],
    })
    const credentials = { accessKeyId: keys.accessKeyId, secretAccessKey: keys.secretAccessKey }
    const client = new STSClient({ region: 'eu-west-1', credentials })
    const { Credentials } = await client.send(
      new AssumeRoleCommand({ RoleArn: `${ROLE}last`, RoleSessionName: 'jane', SourceIdentity: 'jane' }),
    )
    return {
      AWS_ACCESS_KEY_ID: Credentials?.AccessKeyId ?? '',
      AWS_SECRET_ACCESS_KEY: Credentials?.SecretAccessKey ?? '',
      AWS_SESSION_TOKEN: Credentials?.SessionToken ?? '',
    }
  }
})

/** Long tags that AWS accepts beside the six, but does not pack into a session with ten long policies. */
const manyTags = () => Array.from({ length: 20 }, (_, index) => `key-${index}=${'v'.repeat(150)}`).join(',')
