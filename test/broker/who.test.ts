/** The seven steps of the authorization of a request, each with its own refusal, over real HTTP with real tokens. */
import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync } from 'node:crypto'
import { after, before, test } from 'node:test'
import { decodeJwt, decodeProtectedHeader, type JWTPayload, SignJWT } from 'jose'
import { KEYS } from '../../common/keys.ts'
import type { PodClaims } from '../../node-guard/broker/authenticate/claims.ts'
import { checkPod } from '../../node-guard/broker/authenticate/identify.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import type { KubeObject } from '../sandbox/kube/client/client.ts'
import { eventually } from '../support/until.ts'
import { NODE, type TestPod, World } from './world.ts'

type PodEvent = KubeObject & {
  readonly reason?: string
  readonly type?: string
  /** events.k8s.io/v1 and core/v1 have different names for the same fields. */
  readonly note?: string
  readonly message?: string
  readonly regarding?: { readonly uid?: string }
  readonly involvedObject?: { readonly uid?: string }
}

let world: World
let pod: TestPod

before(async () => {
  world = await World.start()
  await Promise.all([world.role('app'), world.role('other'), world.namespace('shop')])
  await world.broker()
  pod = await world.pod('shop', 'web', { role: 'app' })
})
after(() => world.stop())

/** The pod's token with other claims or header, signed with a key of ours. */
async function forged(claims: JWTPayload = {}, header: object = {}): Promise<string> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { kid = '' } = decodeProtectedHeader(pod.token)
  return new SignJWT({ ...decodeJwt(pod.token), ...claims })
    .setProtectedHeader({ alg: 'RS256', kid, ...header })
    .sign(privateKey)
}

async function refusal(token: string, ip = pod.ip) {
  const { status, body, headers } = await world.ask({ ip, token })
  return { status, code: body.code ?? '', detail: body.detail ?? '', headers }
}

test('a pod gets the credentials of its role, in the format of the protocol', async () => {
  const { status, body, headers } = await world.ask(pod)
  assert.equal(status, 200)
  assert.deepEqual(Object.keys(body), [
    'Code',
    'AccessKeyId',
    'SecretAccessKey',
    'Token',
    'Expiration',
    'LastUpdated',
    'AccountId',
    'Role',
    'RoleArn',
  ])
  assert.equal(body.Role, 'app')
  assert.equal(body.RoleArn, 'arn:aws:iam::111111111111:role/app')
  assert.equal(body.AccountId, '111111111111')
  assert.match(body.Expiration ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  assert.ok(Date.parse(body.Expiration ?? '') - Date.now() > 3500_000)
  assert.equal(headers['cache-control'], 'no-store')
  const [call] = await world.aws.calls({ action: 'AssumeRole', issued: body.AccessKeyId ?? '' })
  assert.deepEqual([call?.session, call?.role, call?.duration], ['shop.web', body.RoleArn, 3600])
})

test('step 1: a request without a token is refused', async () => {
  const { status, body, headers } = await world.request('/v1/credentials', { localAddress: pod.ip })
  assert.deepEqual([status, body.code], [401, 'token-missing'])
  assert.equal(headers['www-authenticate'], 'Bearer')
  for (const authorization of ['Basic eDp5', 'Bearer', 'Bearer  ', 'Bearer a b', `Token ${pod.token}`]) {
    const answer = await world.request('/v1/credentials', {
      localAddress: pod.ip,
      headers: { authorization },
    })
    assert.equal(answer.body.code, 'token-missing', authorization)
  }
})

test('step 1: a token signed with another key is refused', async () => {
  const { status, code, detail } = await refusal(await forged())
  assert.deepEqual([status, code], [401, 'token-invalid'])
  assert.match(detail, /signature is wrong/)
})

test('step 1: a token with one changed character is refused', async () => {
  const [header, payload, signature = ''] = pod.token.split('.')
  const swapped = signature.startsWith('A') ? `B${signature.slice(1)}` : `A${signature.slice(1)}`
  assert.equal((await refusal(`${header}.${payload}.${swapped}`)).code, 'token-invalid')
})

test('step 1: a token with the algorithm none is refused', async () => {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const payload = encode(decodeJwt(pod.token))
  for (const signature of ['', 'x'])
    assert.equal((await refusal(`${encode({ alg: 'none' })}.${payload}.${signature}`)).code, 'token-invalid')
})

test('step 1: a token signed by HS256 with the public key is refused', async () => {
  const { keys } = await world.api.admin.raw<{ keys: object[] }>('/openid/v1/jwks')
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${encode({ alg: 'HS256', kid: decodeProtectedHeader(pod.token).kid })}.${encode(decodeJwt(pod.token))}`
  const mac = createHmac('sha256', JSON.stringify(keys[0])).update(input).digest('base64url')
  const { code, detail } = await refusal(`${input}.${mac}`)
  assert.equal(code, 'token-invalid')
  assert.match(detail, /algorithm is not allowed/)
})

test('step 1: a token for another audience is refused', async () => {
  const token = await world.token('shop', 'default', pod, 'vault')
  const { code, detail } = await refusal(token)
  assert.equal(code, 'token-invalid')
  assert.match(detail, /audience is not pod2iam/)
})

test('step 1: a token of another issuer than the configured one is refused', async () => {
  await world.broker('--issuer', 'https://other.example')
  const { code, detail } = await refusal(pod.token)
  await world.broker()
  assert.equal(code, 'token-invalid')
  assert.match(detail, /issuer/)
})

test('step 1: an expired token and one that is not valid yet are refused, with the reason', async () => {
  for (const [offset, reason] of [
    [-2 * 3_600_000, /has expired/],
    [600_000, /not valid yet.*clocks/],
  ] as const) {
    await world.api.setClockOffset(offset)
    const token = await world.token('shop', 'default', pod)
    await world.api.setClockOffset(0)
    const { status, code, detail } = await refusal(token)
    assert.deepEqual([status, code], [401, 'token-invalid'])
    assert.match(detail, reason)
  }
})

test('step 1: a token is accepted if clocks differ by a few seconds', async () => {
  await world.api.setClockOffset(3000)
  const token = await world.token('shop', 'default', pod)
  await world.api.setClockOffset(0)
  assert.equal(await world.code({ ...pod, token }), 'ok')
})

test('step 1: a text that is not a token is refused', async () => {
  for (const token of ['x', 'a.b.c', 'eyJ.eyJ.eyJ', `${'a'.repeat(9000)}`])
    assert.match((await refusal(token)).code, /^token-invalid$/)
})

test('step 2: a token that is not bound to a pod is refused', async () => {
  const { status, code, detail } = await refusal(await world.token('shop', 'default'))
  assert.deepEqual([status, code], [401, 'token-invalid'])
  assert.match(detail, /not bound to a pod/)
})

test('step 2: a token of a pod on another node is refused', async () => {
  const far = await world.pod('shop', 'far', { role: 'app', node: 'node-2' })
  const { status, code, detail } = await refusal(far.token, far.ip)
  assert.deepEqual([status, code], [403, 'token-not-for-this-node'])
  assert.match(detail, /node-2.*node-1/)
})

test('step 3: a pod that runs as another service account than its token is refused', async () => {
  // The API server would not issue such a token, but someone with its key could.
  const claims: PodClaims = {
    namespace: 'shop',
    podName: 'web',
    podUid: pod.uid,
    serviceAccount: 'other',
    nodeName: NODE,
  }
  const record = podRecord(await world.api.admin.get('pods', 'web', 'shop'), KEYS.role)
  assert.ok(record)
  assert.throws(() => checkPod(record, claims, NODE), { code: 'token-invalid' })
  const own = { ...claims, serviceAccount: 'default' }
  assert.throws(() => checkPod(record, { ...own, podName: 'x' }, NODE), { code: 'token-invalid' })
  assert.throws(() => checkPod(record, { ...own, namespace: 'x' }, NODE), { code: 'token-invalid' })
  // A token without node claim, and a live read that finds the pod on another node.
  assert.throws(() => checkPod(record, own, 'node-2'), { code: 'token-not-for-this-node' })
  checkPod(record, own, NODE)
})

test('step 3: a deleted pod’s token is refused', async () => {
  const gone = await world.pod('shop', 'gone', { role: 'app' })
  assert.equal(await world.code(gone), 'ok')
  await world.api.admin.delete('pods', 'gone', 'shop', { gracePeriodSeconds: 0 })
  await eventually('refused', async () => (await world.code(gone)) === 'pod-unknown')
})

test('step 3: the sessions of a deleted pod are evicted', async () => {
  const held = async () => Number(/pod2iam_broker_sessions (\d+)/.exec(await world.metrics())?.[1])
  const before = await held()
  const brief = await world.pod('shop', 'brief', { role: 'app' })
  assert.equal(await world.code(brief), 'ok')
  assert.equal(await held(), before + 1)
  await world.api.admin.delete('pods', 'brief', 'shop', { gracePeriodSeconds: 0 })
  await eventually('forgotten', async () => (await held()) === before)
})

test('step 3: a terminating pod keeps its credentials until it has ended', async () => {
  const leaving = await world.pod('shop', 'leaving', { role: 'app' })
  await world.api.admin.delete('pods', 'leaving', 'shop')
  assert.equal(await world.code(leaving), 'ok')
  const status = { phase: 'Succeeded' }
  await world.api.admin.patch(
    'pods',
    'leaving',
    'shop',
    { status },
    { type: 'strategic', subresource: 'status' },
  )
  await eventually('refused', async () => (await world.code(leaving)) === 'pod-unknown')
})

test('a pod can ask whether it is being deleted, also if its role is refused, and nobody else can', async () => {
  const ask = async (pod: Pick<TestPod, 'ip' | 'token'>) => {
    const { status, body } = await world.ask(pod, '/v1/pod')
    return status === 200 ? body : body.code
  }
  const pod = await world.pod('shop', 'held', { role: 'forbidden' })
  assert.equal(await world.code(pod), 'sts-denied')
  assert.deepEqual(await ask(pod), { terminating: false })
  await world.api.admin.delete('pods', 'held', 'shop')
  await eventually('the deletion is reported', async () => Object(await ask(pod)).terminating === true)
  assert.equal(await ask({ ...pod, token: 'none' }), 'token-invalid')
})

test('step 3: a pod that has ended is not kept in memory, also when its token is used', async () => {
  const held = async () => Number(/^pod2iam_broker_pods (\d+)$/m.exec(await world.metrics())?.[1])
  const before = await held()
  const job = await world.pod('shop', 'job', { role: 'app' })
  await eventually('known', async () => (await held()) === before + 1)
  const ended = { status: { phase: 'Failed' } }
  await world.api.admin.patch('pods', 'job', 'shop', ended, { type: 'strategic', subresource: 'status' })
  await eventually('forgotten', async () => (await held()) === before)
  assert.equal(await world.code(job), 'pod-unknown')
  // A broker that starts now finds it by a live read.
  await world.broker()
  assert.equal(await world.code(job), 'pod-unknown')
  assert.equal(await held(), before)
})

test('step 3: the token of a deleted pod is refused also after a new pod with the same name was created', async () => {
  const first = await world.pod('shop', 'db-0', { role: 'app' })
  assert.equal(await world.code(first), 'ok')
  await world.api.admin.delete('pods', 'db-0', 'shop', { gracePeriodSeconds: 0 })
  const second = await world.pod('shop', 'db-0', { role: 'app', podIPs: [first.ip] })
  assert.equal(await world.code(second), 'ok')
  await eventually('refused', async () => (await world.code(first)) === 'pod-unknown')
  assert.equal(await world.code(second), 'ok')
})

test('step 3: a pod without our sidecar is refused, whatever its annotations and labels say', async () => {
  const bare = await world.pod('shop', 'bare', { role: 'app', sidecar: false })
  const { status, code, detail } = await refusal(bare.token, bare.ip)
  assert.deepEqual([status, code], [403, 'pod-not-injected'])
  assert.match(detail, /shop\/bare does not carry the pod2iam sidecar/)
})

test('step 3: an ordinary init container with the sidecar’s name does not count as the sidecar', async () => {
  const init = await world.pod('shop', 'init', { role: 'app', container: { restartPolicy: undefined } })
  assert.equal(await world.code(init), 'pod-not-injected')
})

test('step 3: a pod that opts out of injection is refused despite a sidecar, which can only be forged', async () => {
  for (const [index, value] of ['false', 'False', '', 'true', 'x'.repeat(3000)].entries())
    for (const role of [{ role: 'app' }, {}]) {
      const name = `alone-${index}${role.role ?? ''}`
      const alone = await world.pod('shop', name, { ...role, annotations: { [KEYS.inject]: value } })
      const { status, code, detail } = await refusal(alone.token, alone.ip)
      assert.deepEqual([status, code], [403, 'pod-not-injected'], JSON.stringify(value))
      assert.match(
        detail,
        /annotation pod2iam\.dev\/inject of pod shop\/alone-\d(?:app)? opts it out of injection/,
      )
      assert.equal((await world.ask(alone, '/v1/metadata')).status, 403)
    }
})

test('step 3: a running pod that opts out of injection is refused from then on', async () => {
  const pod = await world.pod('shop', 'opting-out', { role: 'app' })
  assert.equal(await world.code(pod), 'ok')
  const metadata = { annotations: { [KEYS.inject]: 'false' } }
  await world.api.admin.patch('pods', pod.name, pod.namespace, { metadata })
  await eventually('refused', async () => (await world.code(pod)) === 'pod-not-injected')
})

test('step 3: a pod on the host network is refused', async () => {
  const host = await world.pod('shop', 'host', { role: 'app', hostNetwork: true })
  const { code, detail } = await refusal(host.token, host.ip)
  assert.equal(code, 'pod-not-injected')
  assert.match(detail, /host’s network/)
})

test('step 4: an annotation that is patched on a running pod does not change its identity, and the refusal names it', async () => {
  for (const [key, subresource] of [
    [KEYS.role, undefined],
    [KEYS.externalId, 'status'],
    [KEYS.sessionName, 'status'],
    [KEYS.inject, undefined],
  ] as const) {
    const name = `patched-${key.replace(/\W/g, '-')}`
    const patched = await world.pod('shop', name, { role: 'app' })
    assert.equal(await world.code(patched), 'ok')
    const value = key === KEYS.inject ? 'metadata' : 'other'
    const patch = { metadata: { annotations: { [key]: value } } }
    const options = subresource === undefined ? {} : { subresource }
    await world.api.admin.patch('pods', name, 'shop', patch, options)
    await eventually(
      `identity-changed by ${key}`,
      async () => (await world.code(patched)) === 'identity-changed',
    )
    const { detail } = await refusal(patched.token, patched.ip)
    assert.match(detail, /was changed after the pod was created/)
    await world.api.admin.patch('pods', name, 'shop', {
      metadata: { annotations: { [key]: key === KEYS.role ? 'app' : null } },
    })
    await eventually('restored', async () => (await world.code(patched)) === 'ok')
  }
})

test('step 4: annotations that a binding merged into the pod do not give it an identity', async () => {
  const { admin } = world.api
  const { metadata } = await admin.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'bound', namespace: 'shop' },
    spec: {
      initContainers: [
        {
          name: 'pod2iam-sidecar',
          image: 'x',
          restartPolicy: 'Always',
          env: [{ name: 'POD2IAM_IDENTITY', value: 'default' }],
        },
      ],
      containers: [{ name: 'app', image: 'app' }],
    },
  } as never)
  await admin.bind('shop', 'bound', NODE, { annotations: { [KEYS.role]: 'app' } })
  const token = await world.token('shop', 'default', { name: 'bound', uid: metadata.uid ?? '' })
  const { code } = await refusal(token, '127.0.0.1')
  assert.equal(code, 'identity-changed')
})

test('step 5: a token replayed from another pod’s address is refused', async () => {
  const thief = await world.pod('shop', 'thief', { role: 'app' })
  const { status, code, detail } = await refusal(pod.token, thief.ip)
  assert.deepEqual([status, code], [403, 'peer-address-mismatch'])
  assert.ok(detail.includes(thief.ip))
})

test('step 5: every address of a pod is accepted, also that of the second family', async () => {
  const dual = await world.pod('shop', 'dual', { role: 'app', podIPs: ['fd00::7', '127.99.0.1'] })
  assert.equal(await world.code({ ...dual, ip: '127.99.0.1' }), 'ok')
})

test('step 5: a young pod whose address the kubelet has not reported yet is served', async () => {
  const young = await world.pod('shop', 'young', { role: 'app', podIPs: [] })
  assert.equal(await world.code({ ...young, ip: '127.98.0.1' }), 'ok')
})

test('step 5: the token of a pod without reported address is refused from the address of another pod or of the node', async () => {
  const young = await world.pod('shop', 'young-victim', { role: 'app', podIPs: [] })
  const thief = await world.pod('shop', 'young-thief', { role: 'app' })
  const patch = (name: string, status: object) =>
    world.api.admin.patch('pods', name, 'shop', { status }, { type: 'merge', subresource: 'status' })
  await patch(thief.name, { hostIP: '127.98.0.2', hostIPs: [{ ip: '127.98.0.2' }] })
  const from = (ip: string) => world.code({ ...young, ip })
  await eventually('the other pod is known', async () => (await world.code(thief)) === 'ok')
  for (const ip of [thief.ip, '127.0.0.1', '127.98.0.2'])
    await eventually(`refused from ${ip}`, async () => (await from(ip)) === 'peer-address-mismatch')
  assert.equal(await from('127.98.0.3'), 'ok')
  await patch(thief.name, { phase: 'Succeeded' })
  await eventually('the address of a pod that has ended is free', async () => (await from(thief.ip)) === 'ok')
})

test('step 5: a pod without reported address that is not young any more gets a retryable error', async () => {
  await world.api.setClockOffset(-360_000)
  const old = await world.pod('shop', 'old', { role: 'app', podIPs: [] })
  await world.api.setClockOffset(0)
  const { status, code, headers } = await refusal(old.token, '127.98.0.4')
  assert.deepEqual([status, code], [503, 'pod-address-unknown'])
  assert.ok(headers['retry-after'])
})

test('step 5: the address of a recreated pod sandbox is found by a live read', async () => {
  const moved = await world.pod('shop', 'moved', { role: 'app' })
  assert.equal(await world.code(moved), 'ok')
  const status = { podIP: '127.99.0.2', podIPs: [{ ip: '127.99.0.2' }] }
  await world.api.admin.patch('pods', 'moved', 'shop', { status }, { type: 'merge', subresource: 'status' })
  assert.equal(await world.code({ ...moved, ip: '127.99.0.2' }), 'ok')
})

test('step 6: a pod in a namespace that has not opted in is refused, with the way to opt in', async () => {
  await world.namespace('plain', {})
  const outside = await world.pod('plain', 'p', { role: 'app' })
  const { status, code, detail } = await refusal(outside.token, outside.ip)
  assert.deepEqual([status, code], [403, 'namespace-not-enabled'])
  assert.match(detail, /kubectl label namespace plain pod2iam\.dev\/injection=enabled/)
})

test('step 6: changes of label and permission take effect also for cached sessions', async () => {
  await world.namespace('fickle')
  const one = await world.pod('fickle', 'p', { role: 'app' })
  assert.equal(await world.code(one), 'ok')
  const annotate = (value: string | null) =>
    world.api.admin.patch('namespaces', 'fickle', undefined, {
      metadata: { annotations: { [KEYS.allowedRoles]: value } },
    })
  const label = (value: string | null) =>
    world.api.admin.patch('namespaces', 'fickle', undefined, {
      metadata: { labels: { [KEYS.injection]: value } },
    })
  await annotate('["something-else"]')
  await eventually('withdrawn', async () => (await world.code(one)) === 'role-not-allowed')
  await annotate(null)
  await eventually('nothing allowed', async () => (await world.code(one)) === 'role-not-allowed')
  await annotate('["app"]')
  await eventually('allowed', async () => (await world.code(one)) === 'ok')
  // The old session was evicted when the permission was withdrawn, so this is a new one.
  assert.equal((await world.aws.calls({ session: 'fickle.p', outcome: 'Success' })).length, 2)
  await label(null)
  await eventually('opted out', async () => (await world.code(one)) === 'namespace-not-enabled')
  await label('all')
  await eventually('opted in', async () => (await world.code(one)) === 'ok')
})

test('step 6: a role that the namespace may not use is refused with the annotation’s name', async () => {
  await world.namespace('narrow', undefined, { [KEYS.allowedRoles]: '["team-*"]' })
  const other = await world.pod('narrow', 'p', { role: 'app' })
  const { status, code, detail } = await refusal(other.token, other.ip)
  assert.deepEqual([status, code], [403, 'role-not-allowed'])
  assert.match(detail, /narrow\/p.*iam\.amazonaws\.com\/allowed-roles.*does not list it/)
})

test('step 6: no pod gets the node’s own role, whatever the namespace allows and however the role is written', async () => {
  for (const role of ['node', '/node', 'arn:aws:iam::111111111111:role/node', 'some/path/node', 'NODE']) {
    const name = `own-${role.length}-${role === 'NODE'}`
    const greedy = await world.pod('shop', name.toLowerCase(), { role })
    const { code, detail } = await refusal(greedy.token, greedy.ip)
    assert.equal(code, 'role-not-allowed', role)
    assert.match(detail, /node’s own role/)
  }
})

test('step 6: a role of the same name in another account is another role', async () => {
  const arn = 'arn:aws:iam::222222222222:role/node'
  await world.role(arn)
  await world.namespace('cross', undefined, { [KEYS.allowedRoles]: `["${arn}"]` })
  const cross = await world.pod('cross', 'p', { role: arn })
  const { status, body } = await world.ask(cross)
  assert.deepEqual([status, body.Role, body.AccountId], [200, arn, '222222222222'])
})

test('step 6: a role that cannot be resolved is refused with the reason', async () => {
  const cases: [role: string, reason: RegExp][] = [
    ['', /role is empty/],
    ['a b', /white space/],
    ['arn:aws:s3:::bucket', /not a role ARN/],
  ]
  for (const [index, [role, reason]] of cases.entries()) {
    const broken = await world.pod('shop', `broken-${index}`, { role })
    const { code, detail } = await refusal(broken.token, broken.ip)
    assert.equal(code, 'role-not-allowed')
    assert.match(detail, reason)
  }
})

test('step 6: a pod without role in an "enabled" namespace has none, even if there is a default role', async () => {
  await world.broker('--default-role', 'app')
  const none = await world.pod('shop', 'none')
  const { status, code } = await refusal(none.token, none.ip)
  assert.deepEqual([status, code], [404, 'role-not-set'])
})

test('step 6: in an "all" namespace the namespace’s default role comes before the cluster’s, and policy applies to both', async () => {
  await world.namespace('every', { [KEYS.injection]: 'all' }, { [KEYS.allowedRoles]: '["app","other"]' })
  const plain = await world.pod('every', 'p')
  assert.equal((await world.ask(plain)).body.Role, 'app')
  const annotate = (annotations: Record<string, string>) =>
    world.api.admin.patch('namespaces', 'every', undefined, { metadata: { annotations } })
  await annotate({ [KEYS.defaultRole]: 'other' })
  await eventually('other', async () => (await world.ask(plain)).body.Role === 'other')
  await annotate({ [KEYS.allowedRoles]: '["app"]' })
  await eventually('refused', async () => (await world.code(plain)) === 'role-not-allowed')
})

test('a pod that requests metadata only gets metadata, and no credentials', async () => {
  const only = await world.pod('shop', 'only', { role: 'app', annotations: { [KEYS.inject]: 'metadata' } })
  assert.equal(await world.code(only), 'role-not-set')
  const { status, body } = await world.ask(only, '/v1/metadata')
  assert.deepEqual([status, body['placement/region']], [200, 'eu-west-1'])
})

test('step 6: an external id must be one that the namespace lists, and its value is never shown', async () => {
  await world.namespace('ids', undefined, {
    [KEYS.allowedRoles]: '["*"]',
    [KEYS.allowedExternalIds]: '["mine"]',
  })
  await world.role('demanding', { externalId: 'mine' })
  const mine = await world.pod('ids', 'mine', {
    role: 'demanding',
    annotations: { [KEYS.externalId]: 'mine' },
  })
  assert.equal(await world.code(mine), 'ok')
  for (const value of ['yours-secret-id', 'not legal secret-id', 'x']) {
    const yours = await world.pod('ids', `yours-${value.length}`, {
      role: 'demanding',
      annotations: { [KEYS.externalId]: value },
    })
    const { code, detail } = await refusal(yours.token, yours.ip)
    assert.equal(code, 'role-not-allowed', value)
    assert.ok(!detail.includes('secret-id'))
  }
  assert.ok(!JSON.stringify(world.logs).includes('secret-id'))
})

test('two pods with the same role and different external ids never share credentials', async () => {
  await world.role('tenant', { externalId: ['one', 'two'] })
  const [one, two] = await Promise.all(
    ['one', 'two'].map((id) =>
      world.pod('shop', `tenant-${id}`, { role: 'tenant', annotations: { [KEYS.externalId]: id } }),
    ),
  )
  assert.ok(one && two)
  const [first, second] = await Promise.all([world.ask(one), world.ask(two)])
  assert.notEqual(first.body.AccessKeyId, second.body.AccessKeyId)
  const calls = await world.aws.calls({ role: 'tenant', outcome: 'Success' })
  assert.deepEqual(calls.map(({ externalId }) => externalId).sort(), ['one', 'two'])
})

test('a session-name annotation is prefixed with the namespace', async () => {
  const named = await world.pod('shop', 'named', {
    role: 'app',
    annotations: { [KEYS.sessionName]: 'billing' },
  })
  const { body } = await world.ask(named)
  const [call] = await world.aws.calls({ issued: body.AccessKeyId ?? '' })
  assert.equal(call?.session, 'shop.billing')
})

test('step 7: pods on an unguarded node get metadata but no credentials, not even cached ones', async () => {
  const states: [over: object, reason: RegExp][] = [
    [{ verifiedAt: '2020-01-01T00:00:00Z' }, /last verified its rules at 2020/],
    [{ verified: false, detail: 'nft is not usable' }, /nft is not usable/],
    [{ mode: 'remove' }, /--mode=remove/],
  ]
  assert.equal(await world.code(pod), 'ok')
  for (const [over, reason] of states) {
    await world.guard(over)
    const { status, code, detail, headers } = await refusal(pod.token)
    assert.deepEqual([status, code], [503, 'node-unguarded'])
    assert.match(detail, reason)
    assert.ok(headers['retry-after'])
  }
  assert.equal((await world.ask(pod, '/v1/metadata')).status, 200)
  await world.guard()
  assert.equal(await world.code(pod), 'ok')
})

test('step 7: with --require-firewall=false pods get credentials on an unguarded node', async () => {
  await world.guard({ verified: false })
  await world.broker('--require-firewall=false')
  assert.equal(await world.code(pod), 'ok')
  await world.guard()
  await world.broker()
})

test('a refused pod gets one Event that says why', async () => {
  const { admin } = world.api
  const bad = await world.pod('narrow', 'evented', { role: 'app' })
  for (let index = 0; index < 5; index++) assert.equal(await world.code(bad), 'role-not-allowed')
  const own = async () => {
    const { items } = await admin.list<PodEvent>('events', { namespace: 'narrow' })
    return items.filter(({ regarding, involvedObject }) => (regarding ?? involvedObject)?.uid === bad.uid)
  }
  const [event] = await eventually('an Event', async () => ((await own()).length > 0 ? own() : undefined))
  assert.equal((await own()).length, 1)
  assert.deepEqual([event?.reason, event?.type], ['RoleNotAllowed', 'Warning'])
  assert.match(event?.note ?? event?.message ?? '', /narrow\/evented.*does not list it/)
})

test('refusals are logged with the pod or the peer, and once while they stay the same', async () => {
  const stranger = await world.pod('narrow', 'logged', { role: 'app' })
  for (let index = 0; index < 3; index++) {
    assert.equal(await world.code(stranger), 'role-not-allowed')
    assert.equal(await world.code({ ip: stranger.ip, token: 'x' }), 'token-invalid')
  }
  const warnings = world.logs.filter(({ level }) => level === 'warn')
  const ofPod = warnings.filter(({ pod: name }) => name === 'narrow/logged')
  assert.deepEqual(
    ofPod.map(({ msg, code }) => [msg, code]),
    [['credentials refused', 'role-not-allowed']],
  )
  const ofPeer = warnings.filter(({ peer }) => peer === stranger.ip)
  assert.deepEqual(
    ofPeer.map(({ msg, code }) => [msg, code]),
    [['request rejected', 'token-invalid']],
  )
})

test('no log line has a token or key', async () => {
  const { body } = await world.ask(pod)
  const lines = JSON.stringify(world.logs)
  for (const secret of [pod.token, body.AccessKeyId, body.SecretAccessKey, body.Token])
    assert.ok(secret && !lines.includes(secret))
  const audit = world.logs.find(({ audit, pod: name }) => audit && name === 'shop/web')
  assert.equal(audit?.role, 'arn:aws:iam::111111111111:role/app')
  assert.equal(audit?.sessionName, 'shop.web')
})
