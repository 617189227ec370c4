/** AssumeRoleWithWebIdentity, as the AWS SDK calls it: nothing is signed, and the token alone decides. */
import assert from 'node:assert/strict'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { after, before, beforeEach, test } from 'node:test'
import {
  AssumeRoleWithWebIdentityCommand,
  type AssumeRoleWithWebIdentityCommandInput,
  GetCallerIdentityCommand,
} from '@aws-sdk/client-sts'
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import { createAuthority } from '../kube/client/certificates.ts'
import { Aws, trust, trustWebIdentity } from './client.ts'
import { assume, refusalOf, stsClient } from './support.ts'

const ISSUER = 'https://oidc.example.com/id/CLUSTER'
const SUBJECT = 'system:serviceaccount:shop:orders'
const ROLE = 'arn:aws:iam::111111111111:role/app'
const PROVIDER = 'arn:aws:iam::111111111111:oidc-provider/oidc.example.com/id/CLUSTER'

const pair = await generateKeyPair('RS256')
const jwks = { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'one', alg: 'RS256' }] }
let aws: Aws

before(async () => {
  aws = await Aws.start()
})
after(() => aws.stop())
beforeEach(async () => {
  await aws.reset()
  await aws.putOidcProvider({ issuer: ISSUER, clientIds: ['sts.amazonaws.com'], keys: { jwks } })
  await aws.putRole({ arn: 'app', trustPolicy: trustWebIdentity({ provider: PROVIDER, subject: SUBJECT }) })
})

/** A token of the cluster with some claims changed. */
async function token(over: JWTPayload = {}, kid = 'one', key = pair.privateKey): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const usual = { iss: ISSUER, sub: SUBJECT, aud: ['sts.amazonaws.com'], iat: now, exp: now + 600 }
  return new SignJWT({ ...usual, ...over }).setProtectedHeader({ alg: 'RS256', kid }).sign(key)
}

/** A client that has no credentials and finds none. */
const nobody = () =>
  stsClient(aws, { credentials: () => Promise.reject(new Error('was asked for credentials')) })

async function call(input: Partial<AssumeRoleWithWebIdentityCommandInput> = {}) {
  const WebIdentityToken = input.WebIdentityToken ?? (await token())
  return nobody().send(
    new AssumeRoleWithWebIdentityCommand({
      RoleArn: ROLE,
      RoleSessionName: 'shop.orders-1',
      ...input,
      WebIdentityToken,
    }),
  )
}

test('a client with a token that the role trusts gets a session, and needs no credentials', async () => {
  const issued = await call({ DurationSeconds: 900 })
  assert.equal(issued.AssumedRoleUser?.Arn, 'arn:aws:sts::111111111111:assumed-role/app/shop.orders-1')
  assert.equal(issued.SubjectFromWebIdentityToken, SUBJECT)
  assert.equal(issued.Provider, PROVIDER)
  assert.equal(issued.Audience, 'sts.amazonaws.com')
  const { AccessKeyId = '', SecretAccessKey = '', SessionToken = '', Expiration } = issued.Credentials ?? {}
  assert.ok(Math.abs((Expiration?.getTime() ?? 0) - Date.now() - 900_000) < 60_000)
  const credentials = {
    accessKeyId: AccessKeyId,
    secretAccessKey: SecretAccessKey,
    sessionToken: SessionToken,
  }
  const { Arn } = await stsClient(aws, { credentials }).send(new GetCallerIdentityCommand({}))
  assert.equal(Arn, issued.AssumedRoleUser?.Arn)
  const [record] = await aws.calls({ action: 'AssumeRoleWithWebIdentity' })
  assert.deepEqual([record?.caller, record?.signed, record?.issued], [SUBJECT, false, AccessKeyId])
  assert.ok(!JSON.stringify(await aws.calls()).includes('eyJ'), 'the record has the token')
})

test('a token is refused for its issuer, key, signature, audience and time, with the texts of AWS', async () => {
  const other = await generateKeyPair('RS256')
  const now = Math.floor(Date.now() / 1000)
  for (const [WebIdentityToken, expected] of [
    [
      await token({ iss: 'https://elsewhere.example.com' }),
      /^InvalidIdentityToken.*: No OpenIDConnect provider found in your account for https:\/\/elsewhere\.example\.com$/,
    ],
    [
      await token({}, 'two'),
      /^InvalidIdentityToken.*: Couldn't retrieve verification key from your identity provider/,
    ],
    [await token({}, 'one', other.privateKey), /^InvalidIdentityToken.*: Invalid token signature$/],
    [await token({ aud: ['pod2iam'] }), /^InvalidIdentityToken.*: Incorrect token audience$/],
    [
      await token({ exp: now - 5 }),
      new RegExp(
        `^ExpiredTokenException: Token expired: current date/time \\d+ must be before the expiration date/time ${now - 5}$`,
      ),
    ],
    ['no.such.token', /^InvalidIdentityToken.*: The ID Token provided is not a valid JWT/],
  ] as const)
    assert.match(await refusalOf(call({ WebIdentityToken })), expected)
})

test('another subject, another role and a role without this trust get the same refusal', async () => {
  await aws.putRole({ arn: 'node-only', trustPolicy: trust({ principal: aws.config.nodeRoleArn }) })
  await aws.putRole({ arn: 'anybody', trustPolicy: trust({ principal: '*' }) })
  const denied = 'AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity'
  const stranger = await token({ sub: 'system:serviceaccount:shop:others' })
  assert.equal(await refusalOf(call({ WebIdentityToken: stranger })), denied)
  for (const name of ['node-only', 'anybody', 'gone'])
    assert.equal(await refusalOf(call({ RoleArn: ROLE.replace('app', name) })), denied, name)
  const elsewhere = 'arn:aws:iam::222222222222:role/app'
  assert.match(
    await refusalOf(call({ RoleArn: elsewhere })),
    /No OpenIDConnect provider found in your account/,
  )
})

test('the trust policy decides by patterns of the subject, by the session name and by a deny', async () => {
  const of = (subject: string) => trustWebIdentity({ provider: PROVIDER, subject })
  await aws.putRole({ arn: 'app', trustPolicy: of('system:serviceaccount:shop:*') })
  await call()
  await aws.putRole({ arn: 'app', trustPolicy: of('system:serviceaccount:shop:ord?') })
  assert.match(await refusalOf(call()), /^AccessDenied/)
  const [statement] = of(SUBJECT).Statement
  assert.ok(statement)
  const named = { ...statement, Condition: { StringLike: { 'sts:RoleSessionName': 'shop.*' } } }
  await aws.putRole({ arn: 'app', trustPolicy: { Statement: [named] } })
  await call()
  assert.match(await refusalOf(call({ RoleSessionName: 'ship.orders-1' })), /^AccessDenied/)
  const deny = { ...statement, Effect: 'Deny' as const, Action: 'sts:*' }
  await aws.putRole({ arn: 'app', trustPolicy: { Statement: [statement, deny] } })
  assert.match(await refusalOf(call()), /^AccessDenied/)
})

test('a session may last as long as its role allows, and a role that it assumes is chained', async () => {
  const trustPolicy = trustWebIdentity({ provider: PROVIDER, subject: SUBJECT })
  assert.match(
    await refusalOf(call({ DurationSeconds: 43_200 })),
    /^ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role\.$/,
  )
  await aws.putRole({ arn: 'app', trustPolicy, maxSessionDuration: 43_200 })
  const { Credentials: keys } = await call({ DurationSeconds: 43_200 })
  assert.ok((keys?.Expiration?.getTime() ?? 0) > Date.now() + 43_000_000)
  await aws.putRole({ arn: 'next', trustPolicy: trust({ principal: ROLE }), maxSessionDuration: 43_200 })
  const credentials = {
    accessKeyId: keys?.AccessKeyId ?? '',
    secretAccessKey: keys?.SecretAccessKey ?? '',
    sessionToken: keys?.SessionToken ?? '',
  }
  const next = assume(stsClient(aws, { credentials }), ROLE.replace('app', 'next'), { DurationSeconds: 7200 })
  assert.match(await refusalOf(next), /1 hour session limit for roles assumed by role chaining/)
})

test('parameters are checked like those of AssumeRole, and the error names the wrong one', async () => {
  assert.match(
    await refusalOf(call({ RoleSessionName: 'a b' })),
    /at 'roleSessionName' failed to satisfy constraint/,
  )
  assert.match(await refusalOf(call({ DurationSeconds: 899 })), /at 'durationSeconds' failed/)
  assert.match(await refusalOf(call({ Policy: '{' })), /^MalformedPolicyDocument/)
  const Policy = JSON.stringify({ Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }] })
  assert.ok(((await call({ Policy })).PackedPolicySize ?? 0) > 0)
})

test('keys are fetched from the URL of the provider, and STS reports when nobody answers there', async () => {
  const authority = await createAuthority('oidc')
  const { certPem, keyPem } = await authority.issue(['oidc.example.com'], ['127.0.0.1'])
  let body = JSON.stringify(jwks)
  const server = createServer({ cert: certPem, key: keyPem }, (_, response) => response.end(body))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/openid/v1/jwks`
  const provider = { issuer: ISSUER, clientIds: ['sts.amazonaws.com'] }
  try {
    await aws.putOidcProvider({ ...provider, keys: { url, ca: authority.caPem } })
    await call()
    body = 'no key set'
    assert.match(await refusalOf(call()), /Couldn't retrieve verification key/)
    await aws.putOidcProvider({ ...provider, keys: { url } })
    assert.match(await refusalOf(call()), /^IDPCommunicationError.*: An error occurred while communicating/)
  } finally {
    server.close()
    server.closeAllConnections()
  }
  await aws.putOidcProvider({ ...provider, keys: { url, ca: authority.caPem } })
  assert.match(await refusalOf(call()), /^IDPCommunicationError/)
})

test('a provider or a trust policy that IAM would refuse is refused when it is created', async () => {
  const keys = { jwks }
  await assert.rejects(aws.putOidcProvider({ issuer: 'http://plain', clientIds: ['a'], keys }), /https URL/)
  await assert.rejects(aws.putOidcProvider({ issuer: ISSUER, clientIds: [], keys }), /at least one client id/)
  const trustPolicy = trustWebIdentity({ provider: 'arn:aws:iam::1:oidc-provider/x', subject: SUBJECT })
  await assert.rejects(aws.putRole({ arn: 'app', trustPolicy }), /Invalid principal in policy: "FEDERATED"/)
})
