/** Credential source web-identity over TCP, with real tokens, an AWS that verifies them, and a node that may assume no role. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { systemClock } from '../../common/clock.ts'
import { KEYS } from '../../common/keys.ts'
import { WEB_IDENTITY_HEADER } from '../../common/protocol.ts'
import { imdsClient } from '../../node-guard/broker/instance/imds.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { type TestPod, World } from './world.ts'

const SUBJECT = 'system:serviceaccount:shop:orders'
const BOTH = '--credential-sources=node-role,web-identity'

describe('web identity', () => {
  let world: World
  let made = 0

  before(async () => {
    world = await World.start()
    await world.namespace('shop')
    await world.namespace('other')
  })
  after(() => world.stop())
  beforeEach(async () => {
    await world.aws.reset()
    await world.aws.setNodePolicy([])
    await world.federatedRole('app', SUBJECT)
  })

  const pod = (over: Parameters<World['pod']>[2] = {}, namespace = 'shop') =>
    world.pod(namespace, `pod-${made++}`, {
      ...{ role: 'app', serviceAccount: 'orders', source: 'web-identity' },
      ...over,
    })
  const secondTokenOf = (of: Pick<TestPod, 'namespace' | 'name' | 'uid'>, audience: string) =>
    world.token(of.namespace, 'orders', of, audience)

  test('a pod gets its role although the node’s role may assume none, and the call has nothing of the node’s credentials', async () => {
    await world.broker(BOTH)
    const one = await pod()
    const { status, body } = await world.ask(one)
    assert.deepEqual([status, body.Role], [200, 'app'], body.detail)
    const [call, ...more] = await world.aws.calls({ session: `shop.${one.name}` })
    assert.deepEqual(
      [call?.action, call?.signed, call?.caller, more.length],
      ['AssumeRoleWithWebIdentity', false, SUBJECT, 0],
    )
    assert.deepEqual(await world.aws.calls({ action: 'AssumeRole' }), [])
    await world.ask(one)
    assert.equal((await world.aws.calls({ session: `shop.${one.name}` })).length, 1, 'it is cached')
    const log = JSON.stringify(world.logs)
    for (const secret of [one.token, one.webIdentity ?? ''])
      assert.ok(!log.includes(secret) && !log.includes(secret.split('.')[2] ?? ''), 'a token is in the log')
  })

  test('a pod with the source node-role is served beside it as before', async () => {
    await world.aws.setNodePolicy([{ Effect: 'Allow', Action: 'sts:*', Resource: '*' }])
    await world.role('plain')
    await world.broker(BOTH)
    const plain = await world.pod('shop', `pod-${made++}`, { role: 'plain' })
    assert.equal(await world.code(plain), 'ok')
    const [call] = await world.aws.calls({ session: `shop.${plain.name}` })
    assert.deepEqual([call?.action, call?.signed], ['AssumeRole', true])
    assert.equal(await world.code(await pod()), 'ok')
  })

  test('the web identity token must be present, and be that of the same pod', async () => {
    await world.broker(BOTH)
    const [mine, sibling] = [await pod(), await pod()]
    const stranger = await world.pod('other', `pod-${made++}`, {
      ...{ role: 'app', serviceAccount: 'orders', source: 'web-identity' },
    })
    const otherAccount = await world.pod('shop', `pod-${made++}`, { role: 'app', source: 'web-identity' })
    const unbound = await world.token('shop', 'orders', undefined, 'sts.amazonaws.com')
    const elsewhere = await pod({ node: 'node-2' })
    for (const [webIdentity, code, sentence] of [
      [undefined, 'token-missing', /its sidecar must send the projected token/],
      ['', 'token-missing', /its sidecar must send/],
      [sibling.webIdentity, 'token-invalid', /is not that of pod shop/],
      [stranger.webIdentity, 'token-invalid', /is not that of pod shop/],
      [otherAccount.webIdentity, 'token-invalid', /is not that of pod shop/],
      [unbound, 'token-invalid', /not bound to a pod/],
      [elsewhere.webIdentity, 'token-not-for-this-node', /belongs to a pod on node node-2/],
      [
        mine.token,
        'token-invalid',
        /the web identity token cannot be accepted: its audience is not sts\.amazonaws\.com/,
      ],
      [`${mine.webIdentity?.slice(0, -6)}AAAAAA`, 'token-invalid', /its signature is wrong/],
      [`${mine.webIdentity},${mine.webIdentity}`, 'token-missing', /must send/],
    ] as const) {
      const { status, body } = await world.ask({ ...mine, ...{ webIdentity } } as TestPod)
      assert.equal(body.code, code, body.detail)
      assert.ok(status >= 400)
      assert.match(body.detail ?? '', sentence)
      assert.ok(!body.detail?.includes('eyJ'))
    }
    assert.deepEqual(await world.aws.calls({ action: 'AssumeRoleWithWebIdentity' }), [])
    assert.equal(await world.code(mine), 'ok')
  })

  test('a stolen web identity token is refused alone, with another pod’s token, from another address, and after the pod’s end', async () => {
    await world.broker(BOTH)
    const [mine, thief] = [await pod(), await pod()]
    const webIdentity = mine.webIdentity ?? ''
    const ask = (ip: string, headers: Record<string, string>) =>
      world.request('/v1/credentials', { localAddress: ip, headers }).then(({ body }) => body.code)
    assert.equal(await ask(mine.ip, { [WEB_IDENTITY_HEADER]: webIdentity }), 'token-missing')
    assert.equal(await ask(mine.ip, { authorization: `Bearer ${webIdentity}` }), 'token-invalid')
    assert.equal(
      await ask(thief.ip, { authorization: `Bearer ${thief.token}`, [WEB_IDENTITY_HEADER]: webIdentity }),
      'token-invalid',
    )
    // Both tokens of the pod, from another pod's address.
    assert.equal(await world.code({ ...mine, ip: thief.ip }), 'peer-address-mismatch')
    assert.equal(await world.code(mine), 'ok')
    await world.api.admin.delete('pods', mine.name, 'shop', { gracePeriodSeconds: 0 })
    // Until the watch reports the deletion, the answer may be to try again, but never credentials.
    await until('the end of the pod is known', async () => {
      const code = await world.code(mine)
      assert.ok(code === 'pod-unknown' || code === 'busy', code)
      return code === 'pod-unknown'
    })
  })

  test('a session may be longer than the hour of role chaining, and the refusal of a session that is too long says the remedy', async () => {
    await world.broker(BOTH, '--session-duration=43200')
    const { status, body } = await world.ask(await pod())
    assert.deepEqual([status, body.code], [403, 'sts-invalid'])
    assert.match(
      body.detail ?? '',
      /does not allow sessions of 43200 seconds: raise its maximum session duration .*--max-session-duration.* or lower --session-duration/,
    )
    await world.federatedRole('app', SUBJECT, { maxSessionDuration: 43_200 })
    const long = await world.ask(await pod())
    assert.equal(long.status, 200, long.body.detail)
    assert.ok(Date.parse(long.body.Expiration ?? '') - Date.now() > 43_000_000)
  })

  test('the refusal for a role that does not trust the service account has the missing statement, which can be used as it is', async () => {
    const arn = await world.role('closed')
    await world.broker(BOTH)
    const { body } = await world.ask(await pod({ role: 'closed' }))
    assert.equal(body.code, 'sts-denied')
    const statement = JSON.parse(/needs the statement (\{.*\}); STS said/.exec(body.detail ?? '')?.[1] ?? '')
    await world.aws.putRole({ arn, trustPolicy: { Version: '2012-10-17', Statement: [statement] } })
    assert.equal(await world.code(await pod({ role: 'closed' })), 'ok')
    assert.match(JSON.stringify(statement), new RegExp(SUBJECT))
  })

  test('an unknown issuer, unreachable or wrong keys, a wrong audience and an expired token each have their own message', async () => {
    await world.broker(BOTH)
    const { issuer } = world.api
    const refusal = async (over: object | null) => {
      if (over === null) await world.aws.deleteOidcProvider(await world.provider())
      else await world.provider(over)
      const { body } = await world.ask(await pod())
      assert.ok(!body.detail?.includes('eyJ'), body.detail)
      return `${body.code} ${body.detail}`
    }
    assert.ok((await refusal(null)).startsWith('sts-denied account 111111111111 of role'))
    assert.ok(
      (await refusal(null)).includes(
        `has no IAM OIDC provider for this cluster’s issuer: create one there with the URL ${issuer} and the audience sts.amazonaws.com`,
      ),
    )
    const url = `https://127.0.0.1:${await freePort()}/openid/v1/jwks`
    assert.match(
      await refusal({ keys: { url } }),
      /^sts-unavailable AWS cannot fetch the keys that sign this cluster’s tokens: .*must be readable from the internet.*IDPCommunicationError/,
    )
    assert.match(await refusal({ keys: { jwks: { keys: [] } } }), /^sts-denied AWS cannot fetch the keys/)
    assert.match(
      await refusal({ clientIds: ['another'] }),
      /^sts-denied the IAM OIDC provider for .* does not know the audience sts\.amazonaws\.com: add it to the provider, or set --web-identity-audience/,
    )
    await world.provider()
    await world.aws.setClockOffset(2 * 3_600_000)
    assert.match(
      await refusal({}),
      /^token-invalid the pod’s web identity token has expired: .*clocks of node and API server.*ExpiredTokenException/,
    )
  })

  test('an external id, session tags and a source that the operator has not enabled are refused', async () => {
    await world.broker(BOTH)
    const asked = async (over: Parameters<World['pod']>[2]) => {
      const { body } = await world.ask(await pod(over))
      return `${body.code} ${body.detail}`
    }
    assert.match(
      await asked({ annotations: { [KEYS.externalId]: 'a:b' } }),
      /^role-not-allowed .*has no external id$/,
    )
    await world.broker(BOTH, '--session-tags')
    assert.match(await asked({}), /^role-not-allowed .*session tags of --session-tags=true cannot be given/)
    await world.broker()
    assert.match(
      await asked({}),
      /^role-not-allowed .*created with the credential source web-identity, and this node’s broker has node-role \(--credential-sources\): delete it/,
    )
    await world.broker('--credential-sources=web-identity')
    const plain = await world.pod('shop', `pod-${made++}`, { role: 'app' })
    assert.match((await world.ask(plain)).body.detail ?? '', /created with the credential source node-role/)
  })

  test('the configured audience is used', async () => {
    await world.provider({ clientIds: ['vault'] })
    const [statement] = (await import('../sandbox/aws/policies.ts')).trustWebIdentity({
      provider: await world.provider({ clientIds: ['vault'] }),
      subject: SUBJECT,
      audience: 'vault',
    }).Statement
    assert.ok(statement)
    await world.aws.putRole({ arn: 'app', trustPolicy: { Statement: [statement] } })
    await world.broker(BOTH, '--web-identity-audience=vault')
    const one = await pod()
    assert.equal(await world.code(one), 'token-invalid')
    assert.equal(await world.code({ ...one, webIdentity: await secondTokenOf(one, 'vault') }), 'ok')
  })

  test('the broker starts and serves without instance metadata and credentials, with the Region from its settings', async () => {
    const nowhere = `http://127.0.0.1:${await freePort()}`
    const before = { ...process.env }
    world.deps = { imds: imdsClient(nowhere, systemClock) }
    process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = nowhere
    try {
      await world.broker('--credential-sources=web-identity', '--region=eu-west-1')
      await world.aws.clearRecords()
      const bare = await world.ask(await pod())
      assert.equal(bare.body.code, 'role-not-allowed', bare.body.detail)
      assert.match(bare.body.detail ?? '', /base role ARN|full ARN/i)
      await world.namespace('hybrid', undefined, {
        [KEYS.allowedRoles]: '["arn:aws:iam::111111111111:role/*"]',
      })
      await world.federatedRole('far', 'system:serviceaccount:hybrid:orders')
      const far = await pod({ role: 'arn:aws:iam::111111111111:role/far' }, 'hybrid')
      assert.equal(await world.code(far), 'ok')
      await world.broker(
        '--credential-sources=web-identity',
        '--region=eu-west-1',
        '--base-role-arn=arn:aws:iam::111111111111:role/',
      )
      const one = await pod()
      assert.equal(await world.code(one), 'ok')
      const { body } = await world.ask(one, '/v1/metadata')
      assert.equal(body['placement/region'], 'eu-west-1')
    } finally {
      world.deps = {}
      process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = before.AWS_EC2_METADATA_SERVICE_ENDPOINT
    }
    assert.deepEqual(await world.aws.imdsRequests(), [])
  })

  test('no pod gets the node’s own role, also when web identity is the only source', async () => {
    await world.broker('--credential-sources=web-identity')
    const { body } = await world.ask(await pod({ role: 'node' }))
    assert.equal(body.code, 'role-not-allowed')
    assert.match(body.detail ?? '', /the node’s own role/)
  })
})
