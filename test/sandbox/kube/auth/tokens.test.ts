import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLocalJWKSet, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose'
import { eventually } from '../../../support/until.ts'
import { sinceKubernetes } from '../client/client.ts'
import { pod, standInOnly, testServer } from '../client/test-server.ts'
import { objectAt } from '../objects/objects.ts'
import { ApiError } from '../objects/status.ts'

const server = testServer({ controllers: false })
const admin = () => server().admin

async function verify(token: string, audience: string): Promise<JWTPayload> {
  const jwks = await admin().raw<JSONWebKeySet>('/openid/v1/jwks')
  const { issuer } = await admin().raw<{ issuer: string }>('/.well-known/openid-configuration')
  const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(jwks), {
    algorithms: ['RS256'],
    issuer,
    audience,
  })
  assert.notEqual(protectedHeader.kid, undefined)
  return payload
}

async function runningPod(name: string, node: string) {
  const created = await admin().create(pod(name))
  await admin().bind('default', name, node)
  return { name, uid: created.metadata.uid ?? '' }
}

const refused = (code: number, text: RegExp) => (error: unknown) =>
  error instanceof ApiError && error.code === code && text.test(error.message)

const CLAIMS = sinceKubernetes(32, 'claims of the node and the token')
test(
  'a token bound to a pod has exactly the claims of Kubernetes 1.32 and later, and verifies against the JWKS',
  CLAIMS,
  async () => {
    const node = await admin().create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } })
    const bound = await runningPod('t1', 'n1')
    const { token, expirationTimestamp } = await admin().createToken('default', 'default', {
      audiences: ['pod2iam'],
      expirationSeconds: 3600,
      pod: bound,
    })
    const payload = await verify(token, 'pod2iam')
    const account = await admin().get('serviceaccounts', 'default', 'default')
    assert.deepEqual(Object.keys(payload).sort(), [
      'aud',
      'exp',
      'iat',
      'iss',
      'jti',
      'kubernetes.io',
      'nbf',
      'sub',
    ])
    assert.deepEqual(payload.aud, ['pod2iam'])
    assert.equal(payload.sub, 'system:serviceaccount:default:default')
    assert.equal((payload.exp ?? 0) - (payload.iat ?? 0), 3600)
    assert.equal(payload.nbf, payload.iat)
    assert.equal(Date.parse(expirationTimestamp) / 1000, payload.exp)
    assert.deepEqual(payload['kubernetes.io'], {
      namespace: 'default',
      node: { name: 'n1', uid: node.metadata.uid },
      pod: bound,
      serviceaccount: { name: 'default', uid: account.metadata.uid },
    })
  },
)

test('a token without a bound pod is valid but has neither pod nor node claim', async () => {
  const { token } = await admin().createToken('default', 'default', { audiences: ['pod2iam'] })
  const claims = objectAt(await verify(token, 'pod2iam'), 'kubernetes.io')
  assert.deepEqual(Object.keys(claims).sort(), ['namespace', 'serviceaccount'])
})

test('lifetimes under ten minutes are refused, others are granted exactly', async () => {
  await assert.rejects(
    admin().createToken('default', 'default', { expirationSeconds: 599 }),
    refused(
      422,
      /spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes/,
    ),
  )
  const { token } = await admin().createToken('default', 'default', {
    audiences: ['x'],
    expirationSeconds: 600,
  })
  const { exp = 0, iat = 0 } = await verify(token, 'x')
  assert.equal(exp - iat, 600)
})

test('a token is bound only to an existing pod with that uid and that service account', async () => {
  const bound = await runningPod('t2', 'n2')
  await admin().create({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'other', namespace: 'default' },
  })
  const request = (account: string, ref: { name: string; uid: string }) =>
    admin().createToken('default', account, { pod: ref })
  await assert.rejects(
    request('default', { name: 'ghost', uid: 'x' }),
    refused(404, /pods "ghost" not found/),
  )
  await assert.rejects(
    request('default', { ...bound, uid: 'x' }),
    refused(409, /the UID in the bound object reference \(x\) does not match the UID in record/),
  )
  await assert.rejects(
    request('other', bound),
    refused(400, /pod running with different serviceaccount name/),
  )
  await assert.rejects(request('ghost', bound), refused(404, /serviceaccounts "ghost" not found/))
})

test('the API server accepts only tokens for itself, and only while the pod exists that a token is bound to', async () => {
  const bound = await runningPod('t3', 'n3')
  /** The account has no permissions: the refusal says which user the token was accepted for. */
  const ask = async (token: string) => {
    const { status, body } = await server().unixClient(token).request('GET', '/api/v1/secrets')
    return { code: status, message: JSON.parse(body).message }
  }
  const own = await admin().createToken('default', 'default', { pod: bound })
  const foreign = await admin().createToken('default', 'default', { audiences: ['pod2iam'], pod: bound })
  const { code, message } = await ask(own.token)
  assert.equal(code, 403)
  assert.match(message, /User "system:serviceaccount:default:default" cannot list resource "secrets"/)
  assert.equal((await ask(foreign.token)).code, 401)
  assert.equal((await ask(`${own.token.slice(0, -4)}AAAA`)).code, 401)
  assert.equal((await ask('garbage')).code, 401)
  await admin().delete('pods', 't3', 'default', { gracePeriodSeconds: 0 })
  // A real API server caches an authenticated token for ten seconds.
  await eventually('the end of the token', async () => (await ask(own.token)).code === 401)
  await runningPod('t3', 'n3')
  assert.equal((await ask(own.token)).code, 401, 'a new pod of the same name is another pod')
})

standInOnly('a token expires by the clock of the server', async () => {
  const { token } = await admin().createToken('default', 'default', { expirationSeconds: 600 })
  const client = server().unixClient(token)
  const code = async () => (await client.request('GET', '/version')).status
  assert.equal(await code(), 200)
  await server().setClockOffset(601_000)
  assert.equal(await code(), 401)
  await server().setClockOffset(0)
  assert.equal(await code(), 200)
})

test('the automatic token of a pod is extended to a year and has the time from which to warn', async () => {
  const bound = await runningPod('t4', 'n4')
  const { token } = await admin().createToken('default', 'default', { expirationSeconds: 3607, pod: bound })
  const payload = await verify(token, server().issuer)
  assert.equal((payload.exp ?? 0) - (payload.iat ?? 0), 365 * 24 * 3600)
  assert.equal(objectAt(payload, 'kubernetes.io').warnafter, (payload.iat ?? 0) + 3607)
})

standInOnly(
  'after a rotation new tokens have the new key, and old ones verify until the old key is dropped',
  async () => {
    const before = await admin().createToken('default', 'default', { audiences: ['pod2iam'] })
    const kid = await server().rotateKeys()
    const after = await admin().createToken('default', 'default', { audiences: ['pod2iam'] })
    assert.equal(JSON.parse(Buffer.from(after.token.split('.')[0] ?? '', 'base64url').toString()).kid, kid)
    await verify(before.token, 'pod2iam')
    await verify(after.token, 'pod2iam')
    await server().dropOldKeys()
    await verify(after.token, 'pod2iam')
    await assert.rejects(verify(before.token, 'pod2iam'), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
  },
)

standInOnly('a rotation that does not keep the old key invalidates every older token at once', async () => {
  const { token } = await admin().createToken('default', 'default')
  const client = server().unixClient(token)
  assert.equal((await client.request('GET', '/version')).status, 200)
  await server().rotateKeys({ keepOld: false })
  assert.equal((await client.request('GET', '/version')).status, 401)
})

test('discovery and keys can be read by any service account, but not anonymously', async () => {
  const { token } = await admin().createToken('default', 'default')
  for (const path of ['/.well-known/openid-configuration', '/openid/v1/jwks']) {
    assert.equal((await server().unixClient(token).request('GET', path)).status, 200)
    const anonymous = await server().unixClient(undefined).request('GET', path)
    assert.equal(anonymous.status, 403)
    assert.match(anonymous.body, /User \\"system:anonymous\\" cannot get path/)
  }
  const { headers } = await admin().request('GET', '/openid/v1/jwks')
  assert.equal(headers['content-type'], 'application/jwk-set+json')
  assert.match(String(headers['cache-control']), /max-age=3600/)
})

test('the keys are not served to a client that accepts only application/json, as by the real server', async () => {
  const asking = async (accept: string) =>
    (await admin().request('GET', '/openid/v1/jwks', undefined, undefined, { accept })).status
  assert.equal(await asking('application/json'), 406)
  for (const accept of ['application/json, */*', 'application/jwk-set+json'])
    assert.equal(await asking(accept), 200)
})
