import assert from 'node:assert/strict'
import { test } from 'node:test'
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { signingKeys } from '../../node-guard/broker/authenticate/keys.ts'
import { tokenVerifier } from '../../node-guard/broker/authenticate/verify.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { captureLog } from '../support/log.ts'

const ISSUER = 'https://issuer.example'
const MINUTE = 60_000
const HOUR = 60 * MINUTE

async function keyPair(kid: string, alg = 'RS256') {
  const { publicKey, privateKey } = await generateKeyPair(alg)
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } }
}
type Pair = Awaited<ReturnType<typeof keyPair>>

function world(pairs: readonly Pair[]) {
  const clock = fakeClock()
  const state = {
    keys: pairs.map(({ jwk }) => jwk as JWK),
    issuer: ISSUER,
    down: false,
    fetches: 0,
    answers: Promise.resolve(),
  }
  const kube = {
    get: async (path: string) => {
      if (path.endsWith('jwks')) state.fetches++
      await state.answers
      if (state.down) throw new Error('down')
      return path.endsWith('jwks') ? { keys: state.keys } : { issuer: state.issuer }
    },
  }
  const { log, lines } = captureLog('warn')
  const stopping = new AbortController()
  const keys = signingKeys({ kube, clock, log, signal: stopping.signal }, undefined)
  keys.start()
  const verify = tokenVerifier(keys, 'pod2iam', clock)
  const token = (pair: Pair, claims: object = {}) =>
    new SignJWT({
      iss: ISSUER,
      aud: ['pod2iam'],
      sub: 'system:serviceaccount:shop:default',
      exp: clock.now() / 1000 + 3600,
      nbf: clock.now() / 1000,
      'kubernetes.io': {
        namespace: 'shop',
        pod: { name: 'web', uid: 'u-1' },
        node: { name: 'node-1' },
        serviceaccount: { name: 'default', uid: 'u-2' },
      },
      ...claims,
    })
      .setProtectedHeader({ alg: pair.alg, kid: pair.kid })
      .sign(pair.privateKey)
  const code = async (pair: Pair, claims: object = {}) => {
    try {
      await verify(`Bearer ${await token(pair, claims)}`)
      return 'ok'
    } catch (error) {
      return error instanceof Error && 'code' in error ? error.code : error
    }
  }
  return { clock, state, keys, stopping, verify, token, code, lines }
}

const [first, second] = await Promise.all([keyPair('first'), keyPair('second')])

test('a token with any algorithm that Kubernetes uses is accepted, and its claims identify the pod', async () => {
  for (const alg of ['RS256', 'ES256', 'ES384', 'ES512']) {
    const pair = await keyPair('k', alg)
    const { verify, token, clock } = world([pair])
    await clock.advance(1)
    assert.deepEqual(await verify(`Bearer ${await token(pair)}`), {
      namespace: 'shop',
      serviceAccount: 'default',
      podName: 'web',
      podUid: 'u-1',
      nodeName: 'node-1',
    })
  }
})

test('while the API server is away, the last good keys are used for a day and no longer', async () => {
  const { clock, state, code, keys } = world([first])
  await clock.advance(1)
  state.down = true
  await clock.advance(23 * HOUR)
  assert.equal(await code(first), 'ok')
  await clock.advance(2 * HOUR)
  assert.equal(keys.current(), undefined)
  assert.equal(await code(first), 'busy')
  state.down = false
  await clock.advance(MINUTE)
  assert.equal(await code(first), 'ok')
})

test('a removed key is no longer accepted after the next fetch, within six minutes', async () => {
  const { clock, state, code } = world([first, second])
  await clock.advance(1)
  state.keys = [second.jwk]
  await clock.advance(6 * MINUTE)
  assert.equal(await code(first), 'token-invalid')
  assert.equal(await code(second), 'ok')
})

test('tokens signed with a new key cause one fetch, however many arrive at once', async () => {
  const { clock, state, code } = world([first])
  await clock.advance(1)
  state.keys = [first.jwk, second.jwk]
  const before = state.fetches
  assert.deepEqual(
    new Set(await Promise.all(Array.from({ length: 20 }, () => code(second)))),
    new Set(['ok']),
  )
  assert.equal(state.fetches - before, 1)
})

test('tokens signed with a new key wait for a fetch that runs, however many they are', async () => {
  const { clock, state, code } = world([first])
  await clock.advance(1)
  state.keys = [first.jwk, second.jwk]
  const { promise, resolve } = Promise.withResolvers<void>()
  state.answers = promise
  const before = state.fetches
  const codes = Array.from({ length: 20 }, () => code(second))
  // By then the others have found that their key is unknown, which takes no computation.
  await Promise.all(Array.from({ length: 50 }, () => code(first)))
  resolve()
  assert.deepEqual(new Set(await Promise.all(codes)), new Set(['ok']))
  assert.equal(state.fetches - before, 1)
})

test('tokens that name unknown keys cannot overload the API server', async () => {
  const { clock, state, code } = world([first])
  await clock.advance(1)
  const before = state.fetches
  for (let index = 0; index < 100; index++) assert.equal(await code(second), 'token-invalid')
  assert.ok(state.fetches - before <= 3)
  await clock.advance(10_000)
  await code(second)
  assert.ok(state.fetches - before <= 5)
})

test('an answer that is not a set of public keys does not replace a good one', async () => {
  const { clock, state, code } = world([first])
  await clock.advance(1)
  for (const keys of [
    [],
    [{ kty: 'oct', k: 'c2VjcmV0', kid: 'first' }],
    Array(65).fill(first.jwk),
    undefined,
  ]) {
    state.keys = keys as JWK[]
    await clock.advance(6 * MINUTE)
    assert.equal(await code(first), 'ok')
  }
})

test('a token with missing or contradictory claims is refused', async () => {
  const { clock, code } = world([first])
  await clock.advance(1)
  const kubernetes = (over: object) => ({
    'kubernetes.io': {
      namespace: 'shop',
      pod: { name: 'web', uid: 'u-1' },
      serviceaccount: { name: 'default' },
      ...over,
    },
  })
  assert.equal(await code(first, kubernetes({})), 'ok')
  for (const claims of [
    { sub: 'system:serviceaccount:other:default' },
    { sub: undefined },
    { exp: undefined },
    { iss: 'https://other.example' },
    { aud: ['other'] },
    { aud: undefined },
    { nbf: clock.now() / 1000 + 60 },
    { exp: clock.now() / 1000 - 10 },
    { 'kubernetes.io': undefined },
    { 'kubernetes.io': 'x' },
    kubernetes({ pod: undefined }),
    kubernetes({ pod: { name: 'web' } }),
    kubernetes({ pod: { uid: 'u' } }),
    kubernetes({ pod: { name: '../secrets/x', uid: 'u' } }),
    kubernetes({ pod: { name: 'web', uid: 'a/b' } }),
    kubernetes({ namespace: undefined }),
    kubernetes({ serviceaccount: undefined }),
    kubernetes({ node: { name: 7 } }),
  ])
    assert.equal(await code(first, claims), 'token-invalid', JSON.stringify(claims))
})

test('a refused token is answered with the claim that is wrong', async () => {
  const { clock, verify, token } = world([first])
  await clock.advance(1)
  const reasons: readonly [object, RegExp][] = [
    [{ sub: undefined }, /its claim sub is missing or wrong$/],
    [{ exp: undefined }, /its claim exp is missing or wrong$/],
    [{ 'kubernetes.io': undefined }, /its claim kubernetes\.io is missing or wrong$/],
    [{ sub: 'system:serviceaccount:other:default' }, /its subject and its service account disagree$/],
    [{ aud: ['other'] }, /its audience is not pod2iam$/],
    [{ nbf: clock.now() / 1000 + 60 }, /it is not valid yet; compare the clocks/],
    [{ exp: clock.now() / 1000 - 10 }, /it has expired; read the token file again$/],
  ]
  for (const [claims, reason] of reasons)
    await assert.rejects(verify(`Bearer ${await token(first, claims)}`), reason)
  await assert.rejects(
    verify(`Bearer ${await token(second)}`),
    /signed with a key this cluster does not have$/,
  )
})

test('while no keys are known, pods are asked to try again in two seconds', async () => {
  const { state, clock, verify, token } = world([first])
  state.down = true
  await clock.advance(1)
  const refused = { code: 'busy', retryAfter: 2, message: /signing keys are not known yet; retry$/ }
  await assert.rejects(verify(`Bearer ${await token(first)}`), refused)
})

test('the times in a token may be off by five seconds', async () => {
  const { clock, code } = world([first])
  await clock.advance(1)
  assert.equal(await code(first, { nbf: clock.now() / 1000 + 4 }), 'ok')
  assert.equal(await code(first, { exp: clock.now() / 1000 - 4 }), 'ok')
})

test('the discovered issuer follows the API server', async () => {
  const { clock, state, code } = world([first])
  await clock.advance(1)
  state.issuer = 'https://new.example'
  await clock.advance(6 * MINUTE)
  assert.equal(await code(first), 'token-invalid')
  assert.equal(await code(first, { iss: 'https://new.example' }), 'ok')
})

test('a new key is known within ten seconds, however many tokens name junk keys', async () => {
  const { clock, state, code } = world([first])
  await clock.advance(1)
  const junk = await keyPair('junk')
  for (let index = 0; index < 50; index++) assert.equal(await code(junk), 'token-invalid')
  state.keys = [first.jwk, second.jwk]
  const before = state.fetches
  let waited = 0
  for (; waited < 60_000 && (await code(second)) !== 'ok'; waited += 100) {
    assert.equal(await code(junk), 'token-invalid')
    await clock.advance(100)
  }
  assert.ok(waited <= 10_100, `${waited} ms`)
  assert.ok(state.fetches - before <= 2)
})

test('after an outage the keys are fetched at their usual pace again', async () => {
  const { clock, state } = world([first])
  state.down = true
  await clock.advance(10 * MINUTE)
  state.down = false
  // In an outage the pause is at most one minute, otherwise at least four and a half minutes.
  await clock.advance(MINUTE)
  const { fetches } = state
  await clock.advance(3 * MINUTE)
  assert.equal(state.fetches, fetches)
  state.down = true
  await clock.advance(3 * MINUTE)
  assert.ok(state.fetches > fetches + 3, 'a new outage begins with short pauses')
})

test('a fetch on demand replaces the scheduled one, so that there is only one timer', async () => {
  const { clock, keys } = world([first])
  await clock.advance(1)
  assert.equal(await keys.unknownKey(), true)
  assert.equal(clock.pending(), 1)
})

test('no keys are fetched after the stop, also when it comes during a fetch', async () => {
  const waiting = world([first])
  await waiting.clock.advance(1)
  waiting.stopping.abort()
  assert.equal(waiting.clock.pending(), 0)
  const fetching = world([first])
  fetching.stopping.abort()
  await fetching.clock.advance(1)
  assert.equal(fetching.clock.pending(), 0)
})

test('a failed fetch is logged with the age of the keys that stay in use', async () => {
  const { clock, state, lines } = world([first])
  await clock.advance(1)
  state.down = true
  await clock.advance(6 * MINUTE)
  assert.match(JSON.stringify(lines[0]), /"error":"down","ageSeconds":\d+/)
})
