/**
 * The behaviour that users of kube2iam know (version 0.15 and its tests), row by row: the same here, or the difference that
 * makes it safe. Roles and patterns alone are in test/common/{role,policy,glob}.test.ts, STS endpoints in
 * endpoints.test.ts, and the metadata service in test/sidecar/.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { canonicalAddress } from '../../common/canonical-address.ts'
import { identityEnv, identityOfAnnotations } from '../../common/identity.ts'
import { KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { Problem } from '../../common/protocol.ts'
import { judgePeer } from '../../node-guard/broker/authenticate/peer.ts'
import { entitlementOf } from '../../node-guard/broker/authorize/entitlement.ts'
import { sessionName } from '../../node-guard/broker/authorize/session-name.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { BROKER_SETTINGS } from '../../node-guard/broker/settings.ts'
import { type PodOptions, World } from './world.ts'

const B = 'arn:aws:iam::123456789012:role/'
const OTHER = 'arn:aws:iam::999999999999:role/'

/** Flags of `cmd/main.go`, the setting here with the same purpose, and its default. */
const FLAGS: readonly [flag: string, setting: keyof typeof BROKER_SETTINGS, ours: unknown, why: string][] = [
  ['--kubeconfig', 'kubeconfig', undefined, 'the same'],
  ['--base-role-arn', 'baseRoleArn', undefined, 'the same; discovered when left out, without another flag'],
  ['--default-role', 'defaultRole', undefined, 'the same, but the namespace’s policy applies to it'],
  ['--iam-role-key', 'roleKey', 'iam.amazonaws.com/role', 'the same'],
  ['--namespace-restrictions', 'namespaceRestrictions', true, 'on by default; in kube2iam off'],
  ['--namespace-restriction-format', 'namespaceRestrictionFormat', 'glob', 'the same'],
  [
    '--iam-role-session-ttl',
    'sessionDuration',
    3600,
    'the duration itself; in kube2iam twice the flag, 1800 by default',
  ],
  ['--metadata-addr', 'imdsEndpoint', undefined, 'a URL'],
  ['--log-level', 'logLevel', 'info', 'the same'],
  ['--app-port', 'port', 9171, 'on node-local addresses; in kube2iam on all'],
  [
    '--metrics-port',
    'healthPort',
    9172,
    'always a port of its own: pods never reach it by the metadata address',
  ],
]
for (const [flag, setting, ours, why] of FLAGS)
  test(`${flag} is ${setting}, ${ours ?? 'nothing'} by default: ${why}`, () => {
    assert.equal(BROKER_SETTINGS[setting].fallback?.(), ours)
  })

test('--node is required, since no broker watches the pods of the whole cluster', () => {
  assert.equal(BROKER_SETTINGS.nodeName.fallback, undefined)
})

test('flags that weaken security or hide a race have no equivalent', () => {
  const gone = [
    'insecure',
    'apiToken',
    'debug',
    'autoDiscoverDefaultRole',
    'resolveDuplicateCacheIps',
    'verbose',
  ]
  assert.deepEqual(
    Object.keys(BROKER_SETTINGS).filter((name) => gone.includes(name)),
    [],
  )
})

type Case = {
  readonly annotations?: Record<string, string>
  readonly clusterDefault?: string
  readonly namespace?: Record<string, string>
  readonly label?: 'enabled' | 'all'
  readonly base?: string | undefined
}

/** The ARN and external id a pod would get, or the code of its refusal. */
function entitled({ annotations = {}, clusterDefault, namespace, label = 'all', ...rest }: Case): string {
  const base = 'base' in rest ? rest.base : B
  const env = identityEnv(identityOfAnnotations(annotations, KEYS.role))
  const pod = podRecord(
    {
      metadata: { uid: 'u', namespace: 'default', name: 'p', annotations },
      spec: { initContainers: [{ name: SIDECAR_CONTAINER, restartPolicy: 'Always', env }] },
    },
    KEYS.role,
  )
  assert.ok(pod)
  const policy = namespace ?? { [KEYS.allowedRoles]: `["*","${OTHER}*"]` }
  try {
    const { request } = entitlementOf(
      pod,
      { name: 'default', injection: label, annotations: policy },
      { base, own: [] },
      {
        policy: { restrictions: true, format: 'glob', permittedRoles: [] },
        defaultRole: clusterDefault,
        durationSeconds: 3600,
        sessionScope: 'pod',
        sessionTags: false,
        credentialSources: ['node-role'],
        serviceAccountRoles: false,
        clusterName: undefined,
        clusterArn: undefined,
        extraSessionTags: [],
        sourceIdentity: undefined,
        nodeName: 'node-1',
      },
    )
    return request.externalId === undefined ? request.roleArn : `${request.roleArn} ${request.externalId}`
  } catch (error) {
    assert.ok(error instanceof Problem)
    return error.code
  }
}

const role = (value: string) => ({ [KEYS.role]: value })

/** The cases of TestExtractRoleARN, and those of "role resolution" that it lacks. */
const EFFECTIVE: readonly [what: string, given: Case, ours: string, why: string][] = [
  [
    'no annotation and no default',
    {},
    'role-not-set',
    'in kube2iam an error; with a base 200 and an empty role',
  ],
  ['no annotation, no default and no base', { base: undefined }, 'role-not-set', 'in kube2iam an error'],
  ['an explicit role', { annotations: role('explicit-role') }, `${B}explicit-role`, 'the same'],
  [
    'no annotation and a default',
    { clusterDefault: 'explicit-default-role' },
    `${B}explicit-default-role`,
    'the same',
  ],
  [
    'no annotation and a default, in a namespace that opted in for annotated pods',
    { clusterDefault: 'explicit-default-role', label: 'enabled' },
    'role-not-set',
    'a default is for namespaces labelled "all"',
  ],
  [
    'an annotation and a default',
    { annotations: role('something'), clusterDefault: 'explicit-default-role' },
    `${B}something`,
    'the annotation counts',
  ],
  [
    'an ARN and a default',
    { annotations: role(`${OTHER}explicit-arn`), clusterDefault: 'x' },
    `${OTHER}explicit-arn`,
    'the same',
  ],
  [
    'an annotation with another key only',
    { annotations: { 'nope.example/role': 'x' }, clusterDefault: 'explicit-default-role' },
    `${B}explicit-default-role`,
    'the same',
  ],
  [
    'an external id',
    { annotations: { ...role('something'), [KEYS.externalId]: 'id-1' } },
    `${B}something id-1`,
    'the same',
  ],
  [
    'an empty external id',
    { annotations: { ...role('something'), [KEYS.externalId]: '' } },
    `${B}something`,
    'the same: none is sent',
  ],
  ['an empty annotation', { annotations: role('') }, 'role-not-allowed', 'in kube2iam the base itself'],
  [
    'an empty annotation and a default',
    { annotations: role(''), clusterDefault: 'x' },
    'role-not-allowed',
    'the same: an empty annotation counts, so the default is not used',
  ],
  [
    'a bare name without a base',
    { annotations: role('x'), base: undefined },
    'role-not-allowed',
    'in kube2iam sent to STS',
  ],
  ['an ARN without a base', { annotations: role(`${OTHER}x`), base: undefined }, `${OTHER}x`, 'the same'],
  [
    'a default role which the namespace does not list',
    { clusterDefault: 'default-role', namespace: {} },
    'role-not-allowed',
    'a default passes every restriction there',
  ],
  [
    'an annotated role which is the default and which the namespace does not list',
    { annotations: role('default-role'), clusterDefault: 'default-role', namespace: {} },
    'role-not-allowed',
    'a default passes every restriction there',
  ],
  [
    'a default role given as ARN that the namespace lists by name',
    { clusterDefault: `${B}default-role`, namespace: { [KEYS.allowedRoles]: '["default-role"]' } },
    `${B}default-role`,
    'the same',
  ],
  [
    'a namespace without annotation',
    { annotations: role('explicit-role'), namespace: {} },
    'role-not-allowed',
    'the same, and the refusal has the command that allows it',
  ],
]
for (const [what, given, ours, why] of EFFECTIVE)
  test(`${what}: ${ours.replace(B, '<base>')} (${why})`, () => {
    assert.equal(entitled(given), ours)
  })

/** In kube2iam named after address and role; here after the pod, so that no two pods share a name. */
const NAMES: readonly [pod: string, ours: string][] = [
  ['my-pod', 'shop.my-pod'],
  ['x'.repeat(100), `shop.${'x'.repeat(38)}-`],
]
for (const [name, ours] of NAMES)
  test(`the session of pod ${name.slice(0, 10)} is named ${ours.slice(0, 16)}…, never after its address or role`, () => {
    const named = sessionName({ namespace: 'shop', name, uid: 'u' }, undefined)
    assert.ok(named.startsWith(ours) && named.length <= 64, named)
    assert.notEqual(
      sessionName({ namespace: 'shop', name: 'x'.repeat(100), uid: 'a' }, undefined),
      sessionName({ namespace: 'shop', name: 'x'.repeat(100), uid: 'b' }, undefined),
    )
  })

/** parseRemoteAddr: Node gives the address without the port, or `undefined`. */
const PEERS: readonly [peer: string | undefined, podIP: string, matches: boolean][] = [
  ['10.0.0.1', '10.0.0.1', true],
  ['127.0.0.1', '127.0.0.1', true],
  ['::ffff:10.0.0.1', '10.0.0.1', true],
  ['fd00:ec2::254', 'fd00:ec2::254', true],
  ['fd00:ec2:0:0::254', 'fd00:ec2::254', true],
  ['10.0.0.1:8080', '10.0.0.1', false],
  ['a:', '10.0.0.1', false],
  ['myhost', '10.0.0.1', false],
  ['', '10.0.0.1', false],
  ['abcd', '10.0.0.1', false],
  [undefined, '10.0.0.1', false],
]
for (const [peer, podIP, matches] of PEERS)
  test(`a request from ${peer === '' ? 'an empty address' : peer} is ${matches ? '' : 'not '}of a pod with ${podIP}`, () => {
    const pod = podRecord(
      { metadata: { uid: 'u', namespace: 'n', name: 'p' }, spec: {}, status: { podIPs: [{ ip: podIP }] } },
      KEYS.role,
    )
    assert.ok(pod)
    assert.equal(judgePeer(pod, peer), matches ? 'match' : 'mismatch')
    if (peer) assert.equal(canonicalAddress(canonicalAddress(peer)), canonicalAddress(peer))
  })

describe('through the whole broker', () => {
  let world: World
  let made = 0
  before(async () => {
    world = await World.start()
    await Promise.all([world.role('app'), world.role('other'), world.namespace('shop')])
    await world.namespace('all', { [KEYS.injection]: 'all' })
    await world.broker()
  })
  after(() => world.stop())
  const pod = (options: PodOptions = {}, namespace = 'shop') =>
    world.pod(namespace, `pod-${made++}`, { role: 'app', ...options })

  /** The error matrix: kube2iam answers nearly everything with 404; here each cause has its own code. */
  const MATRIX: readonly [
    what: string,
    asking: () => Promise<{ ip: string; token: string }>,
    code: string,
  ][] = [
    ['a pod with role', () => pod(), 'ok'],
    [
      'a request from an address of no pod',
      async () => ({ ...(await pod()), ip: '127.66.0.9' }),
      'peer-address-mismatch',
    ],
    ['a malformed token', async () => ({ ...(await pod()), token: 'a.b.c' }), 'token-invalid'],
    ['no annotation and no default', () => world.pod('all', `pod-${made++}`), 'role-not-set'],
    [
      'a namespace that denies',
      async () => {
        await world.namespace('denying', { [KEYS.injection]: 'enabled' }, { [KEYS.allowedRoles]: '["x"]' })
        return pod({}, 'denying')
      },
      'role-not-allowed',
    ],
    ['a role that STS refuses', () => pod({ role: 'nobodys' }), 'sts-denied'],
    ['a role without a name', () => pod({ role: 'role/' }), 'role-not-allowed'],
  ]
  for (const [what, asking, code] of MATRIX)
    test(`${what}: ${code}`, async () => {
      assert.equal(await world.code(await asking()), code)
    })

  /** The pod index: kube2iam serves pods by address, the broker by token and phase. */
  const PHASES: readonly [phase: string, podIPs: readonly string[], code: string][] = [
    ['Running', ['127.66.1.1'], 'ok'],
    ['Pending', ['127.66.1.2'], 'ok'],
    ['Succeeded', ['127.66.1.3'], 'pod-unknown'],
    ['Failed', ['127.66.1.4'], 'pod-unknown'],
    // Not in kube2iam's index; the kubelet may report the address later than the sidecar's first request.
    ['Running', [], 'ok'],
  ]
  for (const [phase, podIPs, code] of PHASES)
    test(`a ${phase} pod ${podIPs.length > 0 ? 'with' : 'without'} address: ${code}`, async () => {
      const one = await pod({ phase, podIPs })
      assert.equal(await world.code({ ...one, ip: podIPs[0] ?? '127.66.1.9' }), code)
    })

  test('two pods with the same address, as after its reuse, are distinguished by their tokens', async () => {
    const ip = '127.66.2.1'
    const [first, second] = [await pod({ podIPs: [ip] }), await pod({ podIPs: [ip], role: 'other' })]
    const answers = [await world.ask(first), await world.ask(second)]
    assert.deepEqual(
      answers.map(({ body }) => body.Role),
      ['app', 'other'],
    )
  })

  test('the second address of a dual-stack pod is accepted, which kube2iam does not know', async () => {
    const one = await pod({ podIPs: ['fd00::7', '127.66.2.2'] })
    assert.equal(await world.code({ ...one, ip: '127.66.2.2' }), 'ok')
  })

  test('five requests in a row make one STS call, and so do five concurrent ones', async () => {
    const one = await pod()
    for (let index = 0; index < 5; index++) assert.equal(await world.code(one), 'ok')
    const other = await pod()
    await Promise.all(Array.from({ length: 5 }, () => world.code(other)))
    for (const { name } of [one, other])
      assert.equal((await world.aws.calls({ session: `shop.${name}` })).length, 1)
  })

  test('a role that STS denies is requested from it once for five requests, without a flag', async () => {
    const one = await pod({ role: 'nobodys' })
    for (let index = 0; index < 5; index++) assert.equal(await world.code(one), 'sts-denied')
    assert.equal((await world.aws.calls({ session: `shop.${one.name}` })).length, 1)
  })

  test('an external id is sent if it is set and not empty', async () => {
    const [without, empty, set] = [
      await pod(),
      await pod({ annotations: { [KEYS.externalId]: '' } }),
      await pod({ annotations: { [KEYS.externalId]: 'id-1' } }),
    ]
    for (const one of [without, empty, set]) await world.code(one)
    const sent = async ({ name }: { name: string }) =>
      (await world.aws.calls({ session: `shop.${name}` }))[0]?.externalId
    assert.deepEqual([await sent(without), await sent(empty), await sent(set)], [null, null, 'id-1'])
  })

  test('a pod with a wrong external id gets nothing, although another pod has just used the right one', async () => {
    await world.role('guarded', { externalId: 'right' })
    const right = await pod({ role: 'guarded', annotations: { [KEYS.externalId]: 'right' } })
    assert.equal(await world.code(right), 'ok')
    for (const annotations of [{}, { [KEYS.externalId]: 'wrong' }])
      assert.equal(await world.code(await pod({ role: 'guarded', annotations })), 'sts-denied')
  })

  test('no AWS action but AssumeRole is called, so no list of Regions is needed', async () => {
    await world.code(await pod())
    const actions = new Set((await world.aws.calls({})).map(({ action }) => action))
    assert.deepEqual(actions, new Set(['AssumeRole']))
  })

  test('a session of one hour is requested, and is served with at least half of its time left', async () => {
    const one = await pod()
    const { body } = await world.ask(one)
    assert.equal((await world.aws.calls({ session: `shop.${one.name}` }))[0]?.duration, 3600)
    assert.ok(Date.parse(body.Expiration ?? '') - Date.now() > 30 * 60_000)
  })

  test('a pod of another node is refused', async () => {
    const foreign = await pod({ node: 'node-2' })
    assert.equal(await world.code(foreign), 'token-not-for-this-node')
  })

  test('metrics count the outcomes of STS calls by class, and have no role_arn', async () => {
    await world.code(await pod())
    await world.code(await pod({ role: 'nobodys-2' }))
    const text = await world.metrics()
    for (const outcome of ['success', 'denied'])
      assert.match(text, new RegExp(`pod2iam_broker_sts_calls_total\\{outcome="${outcome}"\\} [1-9]`))
    assert.doesNotMatch(text, /role_arn|arn:aws/)
  })
})
