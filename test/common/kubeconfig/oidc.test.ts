/** OIDC tokens that expire and are refreshed by their issuer, over TLS. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { kubeClient } from '../../../common/kube/client.ts'
import { kubeconfigAccess } from '../../../common/kube/kubeconfig.ts'
import { createAuthority } from '../../sandbox/kube/client/certificates.ts'
import { fakeClock } from '../../support/fake-clock.ts'
import { base64, files, kubeconfigText, witness } from './kubeconfig-files.ts'

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** An issuer that knows one refresh token, and gives an ID token and the next refresh token for it. */
async function issuer(t: TestContext) {
  const authority = await createAuthority('issuer')
  const { certPem, keyPem } = await authority.issue([], ['127.0.0.1'])
  const grants: string[] = []
  let valid = 'refresh-0'
  const idToken = (expiresIn: number) => {
    const now = Math.floor(Date.now() / 1000)
    const claims = { iss: url(), sub: 'operator', aud: 'kubernetes', iat: now - 7200, exp: now + expiresIn }
    return `${part({ alg: 'RS256' })}.${part(claims)}.${Buffer.from('signature').toString('base64url')}`
  }
  const server = createServer({ cert: certPem, key: keyPem }, async (request, response) => {
    const send = (status: number, body: object) =>
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
    if (request.url === '/.well-known/openid-configuration')
      return send(200, { issuer: url(), token_endpoint: `${url()}/token`, jwks_uri: `${url()}/keys` })
    let body = ''
    for await (const chunk of request) body += chunk
    const given = new URLSearchParams(body).get('refresh_token') ?? ''
    if (given !== valid) return send(400, { error: 'invalid_grant' })
    grants.push(given)
    valid = `refresh-${grants.length}`
    return send(200, {
      ...{ access_token: 'access', token_type: 'Bearer', expires_in: 3600 },
      ...{ id_token: idToken(3600), refresh_token: valid },
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = () => `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  t.after(async () => {
    server.closeAllConnections()
    await once(server.close(), 'close')
  })
  return { url, caPem: authority.caPem, idToken, grants }
}

/** Trusts a CA as NODE_EXTRA_CA_CERTS does, which is read only when the process starts. */
function trusted(t: TestContext, caPem: string): void {
  const before = getCACertificates('default')
  setDefaultCACertificates([...before, caPem])
  t.after(() => setDefaultCACertificates(before))
}

test('an expired OIDC token is refreshed once, and not for every request', async (t) => {
  const { write } = await files(t)
  const { cluster, seen } = await witness(t)
  const { url, caPem, idToken, grants } = await issuer(t)
  const config = {
    ...{ 'idp-issuer-url': url(), 'idp-certificate-authority-data': base64(caPem) },
    ...{ 'client-id': 'kubernetes', 'id-token': idToken(-60), 'refresh-token': 'refresh-0' },
  }
  trusted(t, caPem)
  const user = { 'auth-provider': { name: 'oidc', config } }
  const clock = fakeClock()
  const kube = kubeClient(
    await kubeconfigAccess(await write('config', kubeconfigText(cluster, user)), { clock }),
    clock,
  )
  t.after(() => kube.close())
  for (let request = 0; request < 5; request++) {
    await kube.get('/')
    await clock.advance(1000)
  }
  assert.deepEqual(grants, ['refresh-0'])
  const [, claims = ''] = (seen[4]?.headers.authorization ?? '').split('.')
  assert.ok(JSON.parse(Buffer.from(claims, 'base64url').toString()).exp > Date.now() / 1000)
})

test('an expired OIDC token that cannot be refreshed is refused in one sentence', async (t) => {
  const { write } = await files(t)
  const { cluster } = await witness(t)
  const { url, caPem, idToken } = await issuer(t)
  const config = {
    ...{ 'idp-issuer-url': url(), 'idp-certificate-authority-data': base64(caPem) },
    ...{ 'client-id': 'kubernetes', 'id-token': idToken(-60), 'refresh-token': 'hush-hush' },
  }
  trusted(t, caPem)
  for (const changed of [config, { ...config, 'refresh-token': undefined }]) {
    const user = { 'auth-provider': { name: 'oidc', config: changed } }
    const file = await write('config', kubeconfigText(cluster, user))
    await assert.rejects(kubeconfigAccess(file), ({ message }: Error) => {
      assert.match(
        message,
        /its auth provider "oidc" has no valid token.*; log in again, and name a CA .* in NODE_EXTRA_CA_CERTS$/,
      )
      assert.doesNotMatch(message, /hush|\n/)
      return true
    })
  }
})
