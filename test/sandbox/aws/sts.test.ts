import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { type AssumeRoleCommandInput, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { Aws, allowAssume, denyAssume, trust } from './client.ts'
import { assume, nodeCredentials, refusalOf, stsClient } from './support.ts'

const ACCOUNT = '111111111111'
const ROLE = `arn:aws:iam::${ACCOUNT}:role/`
let aws: Aws
let node: STSClient

before(async () => {
  aws = await Aws.start()
})
after(() => aws.stop())
beforeEach(async () => {
  await aws.reset()
  await aws.putRole({ arn: 'app', trustPolicy: trust({ principal: aws.config.nodeRoleArn }) })
  node = stsClient(aws, { credentials: await nodeCredentials(aws) })
})

const whoami = async (client: STSClient) => {
  const { Arn, UserId, Account } = await client.send(new GetCallerIdentityCommand({}))
  return { Arn, UserId, Account }
}

test('an SDK with its default chain gets the node role from the metadata service, and STS accepts its credentials', async () => {
  const keys = ['AWS_EC2_METADATA_SERVICE_ENDPOINT', 'AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']
  const old = keys.map((key) => [key, process.env[key]] as const)
  Object.assign(process.env, aws.environment())
  try {
    const client = new STSClient({ region: 'eu-west-1', maxAttempts: 1 })
    const { Arn, UserId, Account } = await whoami(client)
    assert.equal(Arn, `arn:aws:sts::${ACCOUNT}:assumed-role/node/${aws.config.instanceId}`)
    assert.match(UserId ?? '', /^AROA[A-Z2-7]{17}:i-0abc1234567890def$/)
    assert.equal(Account, ACCOUNT)
    const { arn } = await assume(client, `${ROLE}app`)
    assert.equal(arn, `arn:aws:sts::${ACCOUNT}:assumed-role/app/test`)
  } finally {
    for (const [key, value] of old) {
      if (value === undefined) delete process.env[key]
      else process.env[key] = value
    }
  }
})

test('every call issues new credentials, for the requested session and duration', async () => {
  const began = Date.now()
  const first = await assume(node, `${ROLE}app`, { RoleSessionName: 'team.pod', DurationSeconds: 900 })
  const second = await assume(node, `${ROLE}app`, { RoleSessionName: 'team.pod' })
  assert.equal(new Set([first, second].map((it) => it.credentials.accessKeyId)).size, 2)
  assert.equal(new Set([first, second].map((it) => it.credentials.secretAccessKey)).size, 2)
  assert.equal(new Set([first, second].map((it) => it.credentials.sessionToken)).size, 2)
  assert.ok(Math.abs(first.expiration.getTime() - began - 900_000) < 60_000)
  assert.ok(Math.abs(second.expiration.getTime() - began - 3_600_000) < 60_000)
  const identity = await whoami(stsClient(aws, { credentials: first.credentials }))
  assert.equal(identity.Arn, `arn:aws:sts::${ACCOUNT}:assumed-role/app/team.pod`)
  assert.match(identity.UserId ?? '', /^AROA[A-Z2-7]{17}:team\.pod$/)
})

test('calls are counted by role, session and outcome and recorded without secrets', async () => {
  const issued = await assume(node, `${ROLE}app`, {
    RoleSessionName: 'one',
    ExternalId: 'ext',
    DurationSeconds: 900,
  })
  await assume(node, `${ROLE}app`, {
    RoleSessionName: 'two',
    Tags: [{ Key: 'team', Value: 'a' }],
  })
  await refusalOf(assume(node, `${ROLE}gone`, { RoleSessionName: 'one' }))
  const counts = await aws.counts()
  assert.equal(counts.assumeRole, 3)
  assert.deepEqual(counts.byOutcome, { Success: 2, AccessDenied: 1 })
  assert.deepEqual(counts.byRole, { [`${ROLE}app`]: { Success: 2 }, [`${ROLE}gone`]: { AccessDenied: 1 } })
  assert.deepEqual(counts.bySession, { one: { Success: 1, AccessDenied: 1 }, two: { Success: 1 } })
  const [call] = await aws.calls({ session: 'one', outcome: 'Success' })
  assert.equal(call?.role, `${ROLE}app`)
  assert.equal(call?.externalId, 'ext')
  assert.equal(call?.duration, 900)
  assert.equal(call?.caller, `arn:aws:sts::${ACCOUNT}:assumed-role/node/${aws.config.instanceId}`)
  assert.equal(call?.issued, issued.credentials.accessKeyId)
  assert.deepEqual((await aws.calls({ session: 'two' }))[0]?.tags, { team: 'a' })
  const records = JSON.stringify([await aws.calls(), await aws.sessions(), await aws.counts()])
  for (const secret of [issued.credentials.secretAccessKey, issued.credentials.sessionToken])
    assert.ok(!records.includes(secret))
})

test('a request that is changed after signing is refused', async () => {
  const tampered = (change: (request: { headers: Record<string, string>; body: string }) => void) => {
    const client = stsClient(aws, { credentials: node.config.credentials })
    client.middlewareStack.add(
      (next) => (args) => {
        change(args.request as { headers: Record<string, string>; body: string })
        return next(args)
      },
      { step: 'deserialize', priority: 'low' },
    )
    return refusalOf(assume(client, `${ROLE}app`))
  }
  const mismatch = /^SignatureDoesNotMatch: The request signature we calculated does not match/
  assert.match(
    await tampered((request) => {
      request.body = request.body.replace('RoleSessionName=test', 'RoleSessionName=best')
    }),
    mismatch,
  )
  assert.match(
    await tampered((request) => {
      const { authorization = '' } = request.headers
      request.headers.authorization = authorization.replace(/.$/, (c) => (c === '0' ? '1' : '0'))
    }),
    mismatch,
  )
  assert.match(
    await tampered((request) => {
      request.headers['x-amz-extra'] = 'x'
    }),
    /'x-amz-extra' must be a 'SignedHeader'/,
  )
  assert.match(
    await tampered((request) => {
      delete request.headers.authorization
    }),
    /^MissingAuthenticationToken: /,
  )
  assert.equal((await aws.counts()).byOutcome.Success, undefined)
})

test('a key is refused without its own secret and its own session token', async () => {
  const own = await nodeCredentials(aws)
  const other = (await assume(node, `${ROLE}app`)).credentials
  const as = (credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }) =>
    refusalOf(whoami(stsClient(aws, { credentials })))
  const invalid = 'InvalidClientTokenId: The security token included in the request is invalid.'
  const { sessionToken, ...keyOnly } = own
  assert.equal(await as({ ...own, accessKeyId: 'ASIAUNKNOWNUNKNOWN22' }), invalid)
  assert.equal(await as({ ...own, sessionToken: other.sessionToken }), invalid)
  assert.equal(await as({ ...own, sessionToken: `${sessionToken.slice(0, -4)}AAA=` }), invalid)
  assert.equal(await as(keyOnly), invalid)
  assert.match(await as({ ...own, secretAccessKey: other.secretAccessKey }), /^SignatureDoesNotMatch/)
})

test('a wrong clock, a wrong region and an ended session are refused with different errors', async () => {
  const credentials = await nodeCredentials(aws)
  const as = (config: object) => refusalOf(whoami(stsClient(aws, { credentials, ...config })))
  assert.match(
    await as({ systemClockOffset: -6 * 60_000 }),
    /^SignatureDoesNotMatch: Signature expired: \d+T\d+Z is now/,
  )
  assert.match(
    await as({ systemClockOffset: 6 * 60_000 }),
    /^SignatureDoesNotMatch: Signature not yet current/,
  )
  await aws.setSts({ clockSkewMinutes: 15 })
  await whoami(stsClient(aws, { credentials, systemClockOffset: -6 * 60_000 }))
  assert.match(await as({ region: 'us-east-1' }), /valid region, not 'us-east-1'/)
  await aws.setSts({ regions: ['eu-west-1', 'us-east-1'] })
  await whoami(stsClient(aws, { credentials, region: 'us-east-1' }))
  assert.equal(await aws.expireSessions({ accessKeyId: credentials.accessKeyId }), 1)
  assert.equal(await as({}), 'ExpiredToken: The security token included in the request is expired')
})

test('credentials expire by the clock of AWS, which SDKs learn from its answers', async () => {
  const { credentials } = await assume(node, `${ROLE}app`, { DurationSeconds: 900 })
  await aws.setClockOffset(899_000)
  // The SDK signs with the wrong time first, corrects its clock by the Date header, and retries.
  await whoami(stsClient(aws, { credentials, maxAttempts: 3 }))
  await aws.setClockOffset(901_000)
  const refusal = await refusalOf(whoami(stsClient(aws, { credentials, maxAttempts: 3 })))
  assert.match(refusal, /^ExpiredToken/)
})

test('a role that requires an external id is refused without it and with another one', async () => {
  await aws.putRole({
    arn: 'ext',
    trustPolicy: trust({ principal: aws.config.nodeRoleArn, externalId: ['a:b/c', 'two'] }),
  })
  const ask = (externalId?: string) =>
    assume(node, `${ROLE}ext`, externalId === undefined ? {} : { ExternalId: externalId })
  const denied = `AccessDenied: User: arn:aws:sts::${ACCOUNT}:assumed-role/node/${aws.config.instanceId} is not authorized to perform: sts:AssumeRole on resource: ${ROLE}ext`
  assert.equal(await refusalOf(ask()), denied)
  assert.equal(await refusalOf(ask('A:b/c')), denied)
  await ask('a:b/c')
  await ask('two')
})

test('the answer for a role that does not exist is that for a role which refuses', async () => {
  await aws.putRole({ arn: 'closed', trustPolicy: trust({ principal: `${ROLE}somebody` }) })
  const closed = await refusalOf(assume(node, `${ROLE}closed`))
  const gone = await refusalOf(assume(node, `${ROLE}gone`))
  assert.equal(closed.replace('closed', 'gone'), gone)
})

test('permission policy of the node and trust policy of the role both decide', async () => {
  const far = 'arn:aws:iam::222222222222:role/far'
  const root = `arn:aws:iam::${ACCOUNT}:root`
  await aws.putRole({ arn: far, trustPolicy: trust({ principal: root }) })
  assert.equal((await assume(node, far)).arn, 'arn:aws:sts::222222222222:assumed-role/far/test')
  await aws.setNodePolicy([allowAssume(`${ROLE}*`)])
  assert.match(await refusalOf(assume(node, far)), /^AccessDenied/)
  await assume(node, `${ROLE}app`)
  await aws.setNodePolicy([allowAssume('*'), denyAssume(`${ROLE}app`)])
  assert.match(await refusalOf(assume(node, `${ROLE}app`)), /^AccessDenied/)
  await assume(node, far)
})

test('a role session has the permissions of its own role, and no others', async () => {
  await aws.putRole({
    arn: 'hop',
    trustPolicy: trust({ principal: aws.config.nodeRoleArn }),
    policy: [allowAssume(`${ROLE}end`)],
  })
  await aws.putRole({ arn: 'end', trustPolicy: trust({ principal: `arn:aws:iam::${ACCOUNT}:root` }) })
  const hop = stsClient(aws, { credentials: (await assume(node, `${ROLE}hop`)).credentials })
  const app = stsClient(aws, { credentials: (await assume(node, `${ROLE}app`)).credentials })
  await assume(hop, `${ROLE}end`)
  assert.match(
    await refusalOf(assume(app, `${ROLE}end`)),
    /^AccessDenied: User: arn:aws:sts::111111111111:assumed-role\/app\/test is not authorized/,
  )
})

test('session tags require sts:TagSession, can be required by a trust policy, and are inherited if transitive', async () => {
  const principal = aws.config.nodeRoleArn
  const Tags = [{ Key: 'kubernetes-namespace', Value: 'team-a' }]
  await aws.putRole({ arn: 'untagged', trustPolicy: trust({ principal, tags: false }) })
  await aws.putRole({
    arn: 'tagged',
    trustPolicy: trust({ principal, tags: { 'kubernetes-namespace': 'team-*' } }),
  })
  await assume(node, `${ROLE}untagged`)
  assert.match(
    await refusalOf(assume(node, `${ROLE}untagged`, { Tags })),
    /not authorized to perform: sts:TagSession/,
  )
  assert.match(await refusalOf(assume(node, `${ROLE}tagged`)), /not authorized to perform: sts:AssumeRole/)
  const first = await assume(node, `${ROLE}tagged`, { Tags, TransitiveTagKeys: ['kubernetes-namespace'] })
  await aws.putRole({ arn: 'next', trustPolicy: trust({ principal: `${ROLE}tagged` }) })
  const chained = stsClient(aws, { credentials: first.credentials })
  assert.match(
    await refusalOf(assume(chained, `${ROLE}next`, { Tags: [{ Key: 'Kubernetes-Namespace', Value: 'x' }] })),
    /conflicts with a transitive tag key from the calling session/,
  )
  await assume(chained, `${ROLE}next`, { Tags: [{ Key: 'more', Value: 'x' }] })
  await aws.putRole({ arn: 'next', trustPolicy: trust({ principal: `${ROLE}tagged`, tags: false }) })
  assert.match(await refusalOf(assume(chained, `${ROLE}next`)), /sts:TagSession/)
})

const fiftyOne = Array.from({ length: 51 }, (_, i) => ({ Key: `k${i}`, Value: 'v' }))
const wrong: [string, Partial<AssumeRoleCommandInput>, RegExp][] = [
  [
    'session name of one character',
    { RoleSessionName: 'x' },
    /'x' at 'roleSessionName' .* length greater than or equal to 2$/,
  ],
  [
    'session name of 65 characters',
    { RoleSessionName: 'x'.repeat(65) },
    /at 'roleSessionName' .* length less than or equal to 64$/,
  ],
  [
    'session name with a slash',
    { RoleSessionName: 'a/b' },
    /'a\/b' at 'roleSessionName' .* pattern: \[\\w\+=,\.@-\]\*$/,
  ],
  ['session name with a colon', { RoleSessionName: 'a:b' }, /^ValidationError: 1 validation error detected/],
  [
    'duration below 900',
    { DurationSeconds: 899 },
    /'899' at 'durationSeconds' .* greater than or equal to 900$/,
  ],
  [
    'duration above 43200',
    { DurationSeconds: 43_201 },
    /'43201' at 'durationSeconds' .* less than or equal to 43200$/,
  ],
  ['external id of one character', { ExternalId: 'x' }, /'x' at 'externalId' .* greater than or equal to 2$/],
  ['external id with a space', { ExternalId: 'a b' }, /at 'externalId' .* pattern/],
  ['51 tags', { Tags: fiftyOne }, /at 'tags' .* less than or equal to 50$/],
  [
    'tag key with an asterisk',
    { Tags: [{ Key: 'a*', Value: '' }] },
    /'a\*' at 'tags\.1\.member\.key' .* pattern/,
  ],
  ['tag value of 257', { Tags: [{ Key: 'a', Value: 'v'.repeat(257) }] }, /'tags\.1\.member\.value' .* 256$/],
  [
    'tags that differ only by case',
    {
      Tags: [
        { Key: 'A', Value: '' },
        { Key: 'a', Value: '' },
      ],
    },
    /^InvalidParameterValue: Duplicate tag keys/,
  ],
  ['aws: tag', { Tags: [{ Key: 'AWS:x', Value: '' }] }, /^InvalidParameterValue: .*reserved/],
  [
    'transitive key without tag',
    { TransitiveTagKeys: ['a'] },
    /^InvalidParameterValue: The specified transitive tag key/,
  ],
  [
    'short ARN',
    { RoleArn: 'arn:aws:iam::1:x' },
    /'arn:aws:iam::1:x' at 'roleArn' .* greater than or equal to 20$/,
  ],
  ['ARN of 2049', { RoleArn: `${ROLE}${'x'.repeat(2049)}` }, /at 'roleArn' .* less than or equal to 2048$/],
  [
    'ARN of a user',
    { RoleArn: `arn:aws:iam::${ACCOUNT}:user/somebody` },
    /^ValidationError: arn:aws:iam::111111111111:user\/somebody is invalid$/,
  ],
  [
    'name instead of an ARN',
    { RoleArn: 'datadog-agent.services.kops' },
    /^ValidationError: datadog-agent\.services\.kops is invalid$/,
  ],
  [
    'two invalid parameters',
    { RoleSessionName: 'x', DurationSeconds: 1 },
    /^ValidationError: 2 validation errors detected: .*; /,
  ],
  ['policy that is no JSON', { Policy: '{' }, /^MalformedPolicyDocument/],
  [
    'tags too large to pack',
    { Tags: fiftyOne.slice(1).map(({ Key }) => ({ Key, Value: 'v'.repeat(250) })) },
    /^PackedPolicyTooLarge/,
  ],
]

for (const [name, input, message] of wrong)
  test(`a request is refused for its parameters: ${name}`, async () => {
    assert.match(await refusalOf(assume(node, `${ROLE}app`, input)), message)
  })

test('role chaining is limited to one hour, with the exact text of AWS', async () => {
  await aws.putRole({
    arn: 'long',
    maxSessionDuration: 43_200,
    trustPolicy: trust({ principal: '*' }),
    policy: [allowAssume('*')],
  })
  const chaining =
    'ValidationError: The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.'
  const asUser = await aws.putUser({ name: 'ci', policy: [allowAssume('*')] })
  const user = stsClient(aws, { credentials: asUser })
  const twoHours = { DurationSeconds: 7200 }
  assert.equal(await refusalOf(assume(node, `${ROLE}long`, twoHours)), chaining)
  await assume(node, `${ROLE}long`, { DurationSeconds: 3600 })
  await assume(user, `${ROLE}long`, twoHours)
  await aws.setSts({ instanceProfileIsChaining: false })
  const unchained = await assume(node, `${ROLE}long`, twoHours)
  const chained = stsClient(aws, { credentials: unchained.credentials })
  assert.equal(await refusalOf(assume(chained, `${ROLE}long`, twoHours)), chaining)
  await aws.putRole({ arn: 'short', trustPolicy: trust({ principal: '*' }) })
  assert.match(
    await refusalOf(assume(user, `${ROLE}short`, twoHours)),
    /^ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role\.$/,
  )
})

test('a user with a static key may assume a role that its policy and the trust policy allow', async () => {
  const keys = await aws.putUser({ name: 'off-ec2', policy: [allowAssume(`${ROLE}app`)] })
  const user = stsClient(aws, { credentials: keys })
  const { Arn, UserId } = await whoami(user)
  assert.equal(Arn, `arn:aws:iam::${ACCOUNT}:user/off-ec2`)
  assert.match(UserId ?? '', /^AIDA/)
  assert.match(await refusalOf(assume(user, `${ROLE}app`)), /^AccessDenied/)
  await aws.putRole({
    arn: 'app',
    trustPolicy: trust({ principal: [aws.config.nodeRoleArn, `arn:aws:iam::${ACCOUNT}:root`] }),
  })
  await assume(user, `${ROLE}app`)
})

test('a source identity is kept in a chain of roles and cannot be changed', async () => {
  const withIdentity = (principal: string) => ({
    Statement: trust({ principal }).Statement.map((it) => ({ ...it, Action: 'sts:*' })),
  })
  await aws.putRole({ arn: 'first', trustPolicy: withIdentity(aws.config.nodeRoleArn) })
  await aws.putRole({ arn: 'second', trustPolicy: withIdentity(`${ROLE}first`) })
  assert.match(
    await refusalOf(assume(node, `${ROLE}app`, { SourceIdentity: 'jane' })),
    /sts:SetSourceIdentity/,
  )
  const { credentials } = await assume(node, `${ROLE}first`, { SourceIdentity: 'jane' })
  const chained = stsClient(aws, { credentials })
  await assume(chained, `${ROLE}second`, { SourceIdentity: 'jane' })
  assert.match(
    await refusalOf(assume(chained, `${ROLE}second`, { SourceIdentity: 'joe' })),
    /sts:SetSourceIdentity/,
  )
})

test('session policies narrow a session to what they allow together at the time of a call, except GetCallerIdentity', async () => {
  const any = {
    Statement: [{ Effect: 'Allow', Principal: { AWS: '111111111111' }, Action: 'sts:*' }],
  } as const
  await aws.putRole({
    arn: 'wide',
    trustPolicy: any,
    policy: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Resource: '*' }],
  })
  for (const arn of ['one', 'two']) await aws.putRole({ arn, trustPolicy: any })
  const allow = (role: string) => [
    { Effect: 'Allow', Action: 'sts:AssumeRole', Resource: ROLE + role } as const,
  ]
  const [first, second] = [
    'arn:aws:iam::111111111111:policy/first',
    'arn:aws:iam::aws:policy/second',
  ] as const
  await aws.putManagedPolicy({ arn: first, statements: allow('one') })
  await aws.putManagedPolicy({ arn: second, statements: [] })
  const { credentials } = await assume(node, `${ROLE}wide`, { PolicyArns: [{ arn: first }, { arn: second }] })
  const narrow = stsClient(aws, { credentials })
  await whoami(narrow)
  await assume(narrow, `${ROLE}one`)
  assert.match(await refusalOf(assume(narrow, `${ROLE}two`)), /^AccessDenied/)
  await aws.putManagedPolicy({ arn: second, statements: allow('two') })
  await assume(narrow, `${ROLE}two`)
  const [session] = await aws.sessions({ role: 'wide' })
  assert.deepEqual(session?.policyArns, [first, second])
})

test('session policies are at most ten, within 2048 characters, and exist in the role’s account', async () => {
  const refused = (...arns: string[]) =>
    refusalOf(assume(node, `${ROLE}app`, { PolicyArns: arns.map((arn) => ({ arn })) }))
  const own = (name: string) => `arn:aws:iam::111111111111:policy/${name}`
  const elsewhere = 'arn:aws:iam::222222222222:policy/there'
  await aws.putManagedPolicy({ arn: elsewhere, statements: [] })
  assert.match(await refused(own('missing')), /^ValidationError: Policy .*missing does not exist/)
  assert.match(await refused(elsewhere), /^ValidationError: Policy .*there does not exist/)
  assert.match(
    await refused(...Array.from({ length: 11 }, (_, n) => own(`p${n}`))),
    /'policyArns'.*equal to 10/,
  )
  assert.match(
    await refused(...Array.from({ length: 10 }, (_, n) => own(`${n}${'x'.repeat(200)}`))),
    /to 2048/,
  )
  assert.match(await refused('short'), /'policyArns\.1\.member\.arn'.*equal to 20/)
})

test('a changed trust policy applies from the next call, and deleting a role ends its sessions', async () => {
  const { credentials } = await assume(node, `${ROLE}app`)
  await aws.putRole({ arn: 'app', trustPolicy: trust({ principal: `${ROLE}other` }) })
  assert.match(await refusalOf(assume(node, `${ROLE}app`)), /^AccessDenied/)
  await whoami(stsClient(aws, { credentials }))
  await aws.deleteRole('app')
  assert.match(await refusalOf(whoami(stsClient(aws, { credentials }))), /^InvalidClientTokenId/)
})

test('an unknown operation is refused as by STS', async () => {
  const ask = async (query: string, init?: RequestInit) => {
    const response = await fetch(`${aws.stsUrl}/${query}`, init)
    return `${response.status} ${(await response.text()).replace(/\s+/g, ' ')}`
  }
  assert.match(await ask(''), /^400 .*<Type>Sender<\/Type> <Code>MissingAction<\/Code>/)
  assert.match(
    await ask('?Action=Fly&Version=2011-06-15'),
    /Could not find operation Fly for version 2011-06-15/,
  )
  assert.match(await ask('?Action=GetCallerIdentity'), /<Code>InvalidAction<\/Code>/)
  assert.match(await ask('other?Action=GetCallerIdentity'), /^404/)
  assert.match(await ask('?Action=GetCallerIdentity&Version=2011-06-15'), /^403 .*MissingAuthenticationToken/)
  assert.match(await ask('?Action=%3Cb%3E%26&Version=2011-06-15'), /operation &lt;b&gt;&amp; for version/)
  assert.match(await ask('', { method: 'POST', body: 'x'.repeat(300_000) }), /^413/)
})
