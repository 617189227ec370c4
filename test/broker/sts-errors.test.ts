import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SessionRequest } from '../../node-guard/broker/authorize/entitlement.ts'
import { assumer } from '../../node-guard/broker/aws/assume.ts'
import { awsMessage, classifyStsError, isConnectionLoss } from '../../node-guard/broker/aws/classify.ts'
import { stsProblem, trustStatement } from '../../node-guard/broker/aws/explain.ts'
import type { Sts } from '../../node-guard/broker/aws/sts-client.ts'

const CHAINING =
  'The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.'
const aws = (name: string, status: number | undefined, message = 'words') =>
  Object.assign(new Error(message), { name, $metadata: status ? { httpStatusCode: status } : {} })

type Class = [error: unknown, failure: string, code: string]

/** Every error that STS documents for AssumeRole, and the class in which the broker puts it. */
const CLASSES: Class[] = [
  [aws('AccessDenied', 403), 'denied', 'sts-denied'],
  [aws('ValidationError', 400), 'invalid', 'sts-invalid'],
  [aws('ValidationError', 400, CHAINING), 'chaining', 'sts-invalid'],
  [aws('PackedPolicyTooLarge', 400), 'invalid', 'sts-invalid'],
  [aws('MalformedPolicyDocument', 400), 'invalid', 'sts-invalid'],
  [aws('RegionDisabledException', 403), 'invalid', 'sts-invalid'],
  [aws('ExpiredToken', 400), 'node-credentials', 'node-credentials-unavailable'],
  [aws('ExpiredTokenException', 403), 'node-credentials', 'node-credentials-unavailable'],
  [aws('InvalidClientTokenId', 403), 'node-credentials', 'node-credentials-unavailable'],
  [aws('SignatureDoesNotMatch', 403), 'node-credentials', 'node-credentials-unavailable'],
  [aws('RequestExpired', 400), 'node-credentials', 'node-credentials-unavailable'],
  ...[
    'RequestTimeTooSkewed',
    'IncompleteSignature',
    'MissingAuthenticationToken',
    'UnrecognizedClientException',
  ].map((name): Class => [aws(name, 403), 'node-credentials', 'node-credentials-unavailable']),
  ...['CredentialsProviderError', 'InstanceMetadataV1FallbackError', 'TokenProviderError'].map(
    (name): Class => [aws(name, undefined), 'node-credentials', 'node-credentials-unavailable'],
  ),
  [aws('Throttling', 400, 'Rate exceeded'), 'throttled', 'sts-throttled'],
  ...['ThrottlingException', 'ThrottledException', 'TooManyRequestsException', 'SlowDown'].map(
    (name): Class => [aws(name, 400), 'throttled', 'sts-throttled'],
  ),
  [aws('RequestLimitExceeded', 503), 'throttled', 'sts-throttled'],
  [aws('Unknown', 429), 'throttled', 'sts-throttled'],
  [aws('IDPCommunicationError', 500), 'unavailable', 'sts-unavailable'],
  [aws('InternalFailure', 500), 'unavailable', 'sts-unavailable'],
  [aws('ServiceUnavailable', 503), 'unavailable', 'sts-unavailable'],
  [aws('TimeoutError', undefined), 'unavailable', 'sts-unavailable'],
  [
    Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' }),
    'unavailable',
    'sts-unavailable',
  ],
  ['a string', 'unavailable', 'sts-unavailable'],
  [undefined, 'unavailable', 'sts-unavailable'],
]

const request: SessionRequest = {
  roleArn: 'arn:aws:iam::222222222222:role/app',
  externalId: undefined,
  sessionName: 'shop.app',
  tags: [],
  ...{ sourceIdentity: undefined, policyArns: [] },
  durationSeconds: 43_200,
}
const callerArn = 'arn:aws:iam::111111111111:role/node'

for (const [error, failure, code] of CLASSES)
  test(`${awsMessage(error, undefined)} counts as ${failure} and is reported as ${code}`, () => {
    const found = classifyStsError(error)
    assert.equal(found, failure)
    const problem = stsProblem(found, error, { request, callerArn, retryAfter: 7 })
    assert.deepEqual([problem.code, problem.retryAfter], [code, 7])
  })

test('a denial names both roles and the trust-policy statement to add', () => {
  const { message } = stsProblem('denied', aws('AccessDenied', 403), { request, callerArn, retryAfter: 30 })
  assert.ok(message.includes(callerArn) && message.includes(request.roleArn))
  const statement = /statement (\{.*?\}) and, if/.exec(message)?.[1] ?? ''
  assert.deepEqual(JSON.parse(statement), {
    Effect: 'Allow',
    Principal: { AWS: callerArn },
    Action: 'sts:AssumeRole',
  })
})

test('the statement has TagSession if tags are sent, and a condition if there is an external id', () => {
  const statement = trustStatement(
    { ...request, externalId: 'half-a-secret', tags: [{ Key: 'k', Value: 'v' }] },
    callerArn,
  )
  assert.deepEqual(statement.Action, ['sts:AssumeRole', 'sts:TagSession'])
  assert.ok(statement.Condition)
  assert.ok(!JSON.stringify(statement).includes('half-a-secret'))
})

test('the statement has SetSourceIdentity if a source identity is set, and a denial of it names possible causes', () => {
  const marked = { ...request, sourceIdentity: 'shop.app' }
  assert.deepEqual(trustStatement(marked, callerArn).Action, ['sts:AssumeRole', 'sts:SetSourceIdentity'])
  const messageOf = (words: string) =>
    stsProblem('denied', aws('AccessDenied', 403, words), { request: marked, callerArn, retryAfter: 1 })
      .message
  assert.match(
    messageOf('User: x is not authorized to perform: sts:SetSourceIdentity on resource: y'),
    /set the source identity shop\.app .*has a source identity already/,
  )
  assert.match(
    messageOf('User: x is not authorized to perform: sts:AssumeRole'),
    /does not let .*role\/node assume /,
  )
})

test('a request that is too large, or has policies that STS does not accept, is reported with its remedy', () => {
  const narrow = { ...request, policyArns: ['arn:aws:iam::aws:policy/a'] }
  const messageOf = (name: string, of: SessionRequest) =>
    stsProblem('invalid', aws(name, 400), { request: of, callerArn, retryAfter: 1 }).message
  for (const name of ['PackedPolicyTooLarge', 'PackedPolicyTooLargeException'])
    assert.match(messageOf(name, request), /more than AWS packs into a session: name fewer policies/)
  assert.match(
    messageOf('ValidationError', narrow),
    /policies arn:aws:iam::aws:policy\/a: each .*account 222222222222/,
  )
  assert.doesNotMatch(messageOf('ValidationError', request), /policies/)
})

test('an external id is never in a message, not even if AWS repeats it', () => {
  const withId = { ...request, externalId: 'half-a-secret' }
  for (const failure of [
    'denied',
    'invalid',
    'chaining',
    'throttled',
    'unavailable',
    'node-credentials',
  ] as const) {
    const problem = stsProblem(failure, aws('X', 400, 'bad ExternalId half-a-secret!'), {
      request: withId,
      callerArn,
      retryAfter: 1,
    })
    assert.ok(!problem.message.includes('half-a-secret'), problem.message)
  }
})

test('only a call whose connection was lost without an answer is repeated at once', () => {
  assert.equal(isConnectionLoss(Object.assign(new Error('x'), { code: 'ECONNRESET' })), true)
  assert.equal(isConnectionLoss(Object.assign(new Error('x'), { code: 'ECONNREFUSED' })), false)
  assert.equal(isConnectionLoss(Object.assign(aws('X', 500), { code: 'ECONNRESET' })), false)
})

function sts(answers: unknown[]) {
  const durations: number[] = []
  let renewals = 0
  const session = { accessKeyId: 'A', secretAccessKey: 's', sessionToken: 't', expiration: 1 }
  const fake: Sts = {
    assumeRole: async ({ durationSeconds }) => {
      durations.push(durationSeconds)
      const answer = answers.shift()
      if (answer) throw answer
      return session
    },
    callerArn: async () => callerArn,
    accessKeyId: async () => 'A',
    renewCredentials: async () => void renewals++,
    close: () => {},
  }
  return { fake, durations, renewals: () => renewals }
}

test('a longer session that is refused for role chaining is requested again with one hour, and from then on with one hour', async () => {
  const { fake, durations } = sts([aws('ValidationError', 400, CHAINING), undefined, undefined])
  const assume = assumer(fake, () => {})
  await assume(request)
  await assume(request)
  await assume({ ...request, roleArn: 'arn:aws:iam::222222222222:role/other' })
  assert.deepEqual(durations, [43_200, 3600, 3600, 43_200])
})

test('another validation error does not cause a request for a shorter session', async () => {
  const other = aws(
    'ValidationError',
    400,
    'DurationSeconds exceeds the MaxSessionDuration set for this role.',
  )
  const { fake, durations } = sts([other])
  await assert.rejects(assumer(fake, () => {})(request), other)
  assert.deepEqual(durations, [43_200])
})

test('expired node credentials are fetched again once, and the call is repeated', async () => {
  const expired = aws('ExpiredToken', 400)
  const once = sts([expired])
  await assumer(once.fake, () => {})(request)
  assert.equal(once.renewals(), 1)
  const twice = sts([expired, expired])
  await assert.rejects(assumer(twice.fake, () => {})(request), expired)
  assert.equal(twice.renewals(), 1)
})

test('the expiration of a session is corrected for a node’s clock that is wrong', async () => {
  const HOUR = 3_600_000
  const awsNow = Date.UTC(2026, 0, 1)
  const { fake } = sts([])
  const answering = {
    ...fake,
    assumeRole: async () => ({ ...(await fake.assumeRole(request)), awsNow, expiration: awsNow + HOUR }),
  }
  const left = async (wrongBy: number) => {
    const now = awsNow + wrongBy
    return (await assumer(answering, () => {}, undefined, { now: () => now })(request)).expiration - now
  }
  assert.equal(await left(-2 * HOUR), HOUR)
  assert.equal(await left(2 * HOUR), HOUR)
  // A difference of seconds is normal, and the time of AWS is kept.
  assert.equal(await left(30_000), HOUR - 30_000)
})

test('every call is counted by outcome', async () => {
  const outcomes: string[] = []
  const { fake } = sts([aws('ValidationError', 400, CHAINING), undefined, aws('AccessDenied', 403)])
  const assume = assumer(fake, (outcome) => outcomes.push(outcome))
  await assume(request)
  await assert.rejects(assume(request))
  assert.deepEqual(outcomes, ['chaining', 'success', 'denied'])
})
