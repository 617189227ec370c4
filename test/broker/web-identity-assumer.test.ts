/** What assumes roles by web identity, with a client that stands in for STS. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Problem } from '../../common/protocol.ts'
import type { SessionRequest } from '../../node-guard/broker/authorize/entitlement.ts'
import { assumersOf } from '../../node-guard/broker/aws/assumers.ts'
import { classifierFor, classifyWebIdentityError } from '../../node-guard/broker/aws/classify.ts'
import type { Session, Sts } from '../../node-guard/broker/aws/sts-client.ts'
import { webIdentityAssumer } from '../../node-guard/broker/aws/web-identity.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { silentLog } from '../support/log.ts'
import { until } from '../support/until.ts'

const REQUEST: SessionRequest = {
  ...{ roleArn: 'arn:aws:iam::111111111111:role/app', externalId: undefined, sessionName: 'shop.orders' },
  ...{ tags: [], sourceIdentity: undefined, policyArns: [], durationSeconds: 3600 },
  webIdentity: { subject: 'system:serviceaccount:shop:orders' },
}
const TOKEN = { token: 'a.b.c', expiresAt: Number.MAX_SAFE_INTEGER }
const HOUR = 3_600_000

/** A metadata service with these leaves and no others. */
const metadataOf = (leaves: Readonly<Record<string, string>>, asked: string[] = []) => ({
  get: async (path: string) => {
    asked.push(path)
    return leaves[path]
  },
  close: () => {},
})
const NODE = {
  'meta-data/iam/info': JSON.stringify({
    InstanceProfileArn: 'arn:aws:iam::111111111111:instance-profile/node',
  }),
  'meta-data/iam/security-credentials/': 'node',
  'meta-data/iam/security-credentials/node': JSON.stringify({ AccessKeyId: 'ASIAOTHER' }),
}

function stand(
  answer: () => Promise<Session>,
  leaves: Readonly<Record<string, string>> = {},
  region: string | null = 'eu-west-1',
) {
  const clock = fakeClock()
  const calls: string[] = []
  const looks: string[] = []
  const outcomes: string[] = []
  const stopping = new AbortController()
  const deps = { clock, log: silentLog, signal: stopping.signal, imds: metadataOf(leaves, looks) as never }
  const connect = () => ({
    assumeRole: async (_: SessionRequest, token: string) => {
      calls.push(token)
      return answer()
    },
  })
  const assumer = webIdentityAssumer(
    { region: region ?? undefined, stsConcurrency: 1 },
    { ...deps, connect },
    (one) => outcomes.push(one),
  )
  const started = Promise.withResolvers<void>()
  assumer.start(() => started.resolve())
  return { clock, calls, looks, outcomes, assumer, started: started.promise, stop: () => stopping.abort() }
}

test('STS is not asked for a role that is not granted any more', async () => {
  const { assumer, calls, started, stop } = stand(() => assert.fail())
  await started
  await assert.rejects(
    assumer.assume(REQUEST, () => false, TOKEN),
    (error) => error instanceof Problem,
  )
  assert.deepEqual(calls, [])
  stop()
})

test('the end of a session is converted to the clock of the node', async () => {
  const { assumer, clock, outcomes, started, stop } = stand(async () => {
    const awsNow = clock.now() + 5 * HOUR
    return {
      accessKeyId: 'A',
      secretAccessKey: 's',
      sessionToken: 't',
      expiration: awsNow + HOUR,
      awsNow,
    }
  })
  await started
  const { expiration } = await assumer.assume(REQUEST, undefined, TOKEN)
  assert.equal(expiration, clock.now() + HOUR)
  assert.deepEqual(outcomes, ['success'])
  stop()
})

test('what STS says about the token is classed for web identity', async () => {
  const named = (name: string) => Object.assign(new Error(name), { name, $metadata: { httpStatusCode: 400 } })
  for (const [name, failure] of [
    // The sidecar brings another one.
    ['ExpiredTokenException', 'unavailable'],
    ['ExpiredToken', 'unavailable'],
    ['IDPCommunicationError', 'unavailable'],
    ['InvalidIdentityToken', 'denied'],
    ['IDPRejectedClaim', 'denied'],
    ['AccessDenied', 'denied'],
    ['Throttling', 'throttled'],
    // Nothing of the node's is in the call.
    ['InvalidClientTokenId', 'invalid'],
    ['SignatureDoesNotMatch', 'invalid'],
  ] as const) {
    assert.equal(classifyWebIdentityError(named(name)), failure, name)
    assert.equal(classifierFor(REQUEST)(named(name)), failure, name)
  }
  assert.equal(classifierFor({})(named('ExpiredToken')), 'node-credentials')
  const { assumer, outcomes, started, stop } = stand(() => Promise.reject(named('ExpiredTokenException')))
  await started
  await assert.rejects(assumer.assume(REQUEST, undefined, TOKEN), /ExpiredToken/)
  assert.deepEqual(outcomes, ['unavailable'])
  stop()
})

test('the role of the broker’s credentials, the stable hop and the instance’s role are the node’s own, wherever they are known from', async () => {
  const stopping = new AbortController()
  const sts: Sts = {
    assumeRole: () => assert.fail(),
    callerArn: async () => 'arn:aws:sts::111111111111:assumed-role/broker/session',
    accessKeyId: async () => 'AKIAEXAMPLE',
    renewCredentials: async () => {},
    close: () => {},
  }
  const imds = metadataOf(NODE) as never
  const assumers = assumersOf(
    {
      ...{ region: 'eu-west-1', baseRoleArn: undefined, nodeName: 'node-1', stsConcurrency: 1 },
      assumeRoleArn: 'arn:aws:iam::111111111111:role/hop',
      credentialSources: ['node-role', 'web-identity'],
    },
    { clock: fakeClock(), log: silentLog, signal: stopping.signal, imds, connectSts: () => sts },
    () => {},
  )
  assumers.start(() => {})
  await until('both are known', () => assumers.whyUnknown() === undefined)
  const { own, base } = assumers.roles('web-identity')
  const names = own.map(({ account, name }) => `${account}/${name}`).sort()
  assert.deepEqual(names, ['111111111111/broker', '111111111111/hop', '111111111111/node'])
  assert.equal(base, 'arn:aws:iam::111111111111:role/')
  stopping.abort()
})

test('without a Region nothing is assumed, until the metadata service knows it', async () => {
  const leaves: Record<string, string> = {}
  const { assumer, clock, started, stop } = stand(() => assert.fail(), leaves, null)
  const unknown = /the Region is not known yet: it is that of --region or AWS_REGION/
  const busy = (code: string) => (error: unknown) =>
    error instanceof Problem && error.code === code && error.retryAfter === 2 && unknown.test(error.message)
  assert.throws(() => assumer.roles(), busy('busy'))
  await assert.rejects(assumer.assume(REQUEST, undefined, TOKEN), busy('sts-unavailable'))
  assert.match(assumer.whyUnknown() ?? '', unknown)
  leaves['meta-data/placement/region'] = 'eu-west-1\n'
  await clock.advance(60_000)
  await started
  assert.deepEqual(assumer.roles(), { base: undefined, own: [] })
  stop()
})

test('the metadata service is asked every five minutes once the node’s role is known, and more often before', async () => {
  for (const [leaves, isOften] of [
    [NODE, false],
    [{}, true],
  ] as const) {
    const { clock, looks, started, stop } = stand(() => assert.fail(), leaves)
    await started
    const first = looks.length
    await clock.advance(5 * 60_000 - 1)
    assert.equal(looks.length > first, isOften)
    await clock.advance(1)
    assert.ok(looks.length > first)
    stop()
  }
})
