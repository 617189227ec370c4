/** Roles of service accounts at admission: which pods get them, what narrows them, and what other replicas do with them. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ACCOUNT_ROLE_KEY, KEYS } from '../../common/keys.ts'
import { KubeError } from '../../common/kube/client.ts'
import { accountOf } from '../../injector/admission/account.ts'
import { webhooks } from '../../injector/admission/webhook.ts'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import { accountLookup } from '../../injector/kubernetes/lookups.ts'
import { effectiveSettings } from '../../injector/peers/effective-settings.ts'
import { readPeer } from '../../injector/peers/peer.ts'
import type { ServiceAccount } from '../../injector/pod/account.ts'
import { NO_LIMITS } from '../../injector/warnings/namespace-limits.ts'
import { silentLog } from '../support/log.ts'
import {
  applyPatch,
  type Dict,
  decide,
  decideFinal,
  IMAGES,
  namespace,
  opsOf,
  pod,
  ROLE,
  reviewOf,
  settings,
  withApiServerDefaults,
} from './fixtures.ts'
import { replicaPod, strictPod } from './replica-pods.ts'

const ON = { serviceAccountKey: ACCOUNT_ROLE_KEY } as const
const OTHER = 'arn:aws:iam::111111111111:role/shop-other'
const PLAIN = pod({}, { [KEYS.role]: undefined })
const ALL = namespace({
  labels: { [KEYS.injection]: 'all' },
  annotations: { [KEYS.allowedRoles]: '["*","arn:*"]', [KEYS.defaultRole]: OTHER },
})

const account = (annotations: Record<string, string> = { [ACCOUNT_ROLE_KEY]: ROLE }): ServiceAccount => ({
  namespace: 'shop',
  name: 'orders',
  annotations,
})
const decided = (of: Dict, by: Partial<InjectionSettings> = ON, own = account(), where = namespace()) =>
  decide(of, where, settings(by), own)
const injected = (...given: Parameters<typeof decided>) =>
  applyPatch(given[0], opsOf(decided(...given))) as Pod
type Pod = Dict & { spec: { initContainers: { name: string; env: { name: string; value: string }[] }[] } }
const identityOf = ({ spec }: Pod) => {
  const value = (name: string) => spec.initContainers[0]?.env.find((one) => one.name === name)?.value
  return [value('POD2IAM_IDENTITY'), value('POD2IAM_ROLE')]
}
const reasonOf = ({ kind, reason }: { kind: string; reason: string }) => `${kind} ${reason}`
const sentenceOf = (decision: object) => ('sentence' in decision ? String(decision.sentence) : '')
const withEnv = (one: Pod, name: string, value: string): Pod => {
  const copy = structuredClone(one)
  const env = copy.spec.initContainers[0]?.env ?? []
  env.splice(
    env.findIndex((entry) => entry.name === name),
    1,
    { name, value },
  )
  return copy
}

describe('the role of a service account', () => {
  it('is given to a pod that names none, and frozen in the sidecar together with its source', () => {
    const one = injected(PLAIN)
    assert.deepEqual(identityOf(one), ['service-account', ROLE])
    const { annotations } = one.metadata as { annotations: Record<string, string> }
    const status = JSON.parse(annotations[KEYS.status] ?? '')
    assert.deepEqual([status.role, status.roleFrom], [ROLE, 'service-account'])
    assert.equal(annotations[KEYS.role], undefined)
  })
  it('is not used while the setting is off, nor read from another annotation', () => {
    assert.equal(reasonOf(decided(PLAIN, {})), 'skip not-annotated')
    assert.equal(reasonOf(decided(PLAIN, { serviceAccountKey: 'example.com/role' })), 'skip not-annotated')
    assert.equal(reasonOf(decided(PLAIN, ON, account({}))), 'skip not-annotated')
  })
  it('takes precedence over the default role of the namespace, but not over the pod’s own annotation', () => {
    assert.deepEqual(identityOf(injected(pod({}, { [KEYS.role]: OTHER }))), ['annotation', OTHER])
    assert.deepEqual(identityOf(injected(PLAIN, ON, account(), ALL)), ['service-account', ROLE])
    assert.deepEqual(identityOf(injected(PLAIN, ON, account({}), ALL)), ['default', undefined])
  })
  it('is not given to a pod that asks for metadata only, or that opted out', () => {
    const metadata = pod({}, { [KEYS.role]: undefined, [KEYS.inject]: 'metadata' })
    assert.deepEqual(identityOf(injected(metadata)), ['none', undefined])
    const left = pod({}, { [KEYS.role]: undefined, [KEYS.inject]: 'false' })
    assert.equal(reasonOf(decided(left)), 'skip opted-out')
  })
  it('may be given by name, as on pods', () => {
    const policy = { ...settings().policy, base: 'arn:aws:iam::111111111111:role/' }
    const named = account({ [ACCOUNT_ROLE_KEY]: 'shop-orders' })
    assert.deepEqual(identityOf(injected(PLAIN, { ...ON, policy }, named)), [
      'service-account',
      'shop-orders',
    ])
  })
  it('is refused where the namespace does not allow it, or where it is invalid', () => {
    const foreign = decided(
      PLAIN,
      ON,
      account({ [ACCOUNT_ROLE_KEY]: 'arn:aws:iam::111111111111:role/admin' }),
    )
    assert.equal(reasonOf(foreign), 'deny role-not-allowed')
    for (const text of ['arn:aws:iam::1:role/x', 'two words', 'a$(B)']) {
      const decision = decided(PLAIN, ON, account({ [ACCOUNT_ROLE_KEY]: text }))
      assert.equal(reasonOf(decision), 'deny invalid-role')
      assert.match(
        sentenceOf(decision),
        /^annotation eks\.amazonaws\.com\/role-arn of service account shop\/orders: /,
      )
    }
  })
  it('counts as missing where the annotation is empty, as charts write it', () => {
    const empty = account({ [ACCOUNT_ROLE_KEY]: '' })
    assert.equal(reasonOf(decided(PLAIN, ON, empty)), 'skip not-annotated')
    assert.deepEqual(identityOf(injected(PLAIN, ON, empty, ALL)), ['default', undefined])
  })
  it('is refused on the host network, with a sentence that names what can be changed', () => {
    const decision = decided(pod({ hostNetwork: true }, { [KEYS.role]: undefined }))
    assert.equal(reasonOf(decision), 'deny host-network')
    assert.match(sentenceOf(decision), /"false" on the pod to opt out: its service account asks for a role/)
  })
})

describe('the list of allowed roles of a service account', () => {
  const narrowed = (list: string) => account({ [KEYS.allowedRoles]: list, [ACCOUNT_ROLE_KEY]: ROLE })
  it('narrows what the namespace allows, wherever the role comes from', () => {
    for (const one of [PLAIN, pod()]) {
      assert.equal(decided(one, ON, narrowed(JSON.stringify([ROLE]))).kind, 'patch')
      const decision = decided(one, ON, narrowed(JSON.stringify([OTHER])))
      assert.equal(reasonOf(decision), 'deny role-not-allowed')
      assert.match(sentenceOf(decision), /^service account shop\/orders may not use role .*shop-orders/)
    }
    const byDefault = decided(PLAIN, ON, account({ [KEYS.allowedRoles]: '[]' }), ALL)
    assert.equal(reasonOf(byDefault), 'skip role-not-allowed')
  })
  it('does not widen what the namespace allows', () => {
    const admin = 'arn:aws:iam::111111111111:role/admin'
    const wide = account({ [KEYS.allowedRoles]: '["*","arn:*"]', [ACCOUNT_ROLE_KEY]: admin })
    assert.equal(reasonOf(decided(PLAIN, ON, wide)), 'deny role-not-allowed')
  })
  it('allows nothing where it is malformed, and is ignored while the setting is off', () => {
    for (const list of ['shop-*', '{}', `["${'x'.repeat(17_000)}"]`])
      assert.equal(reasonOf(decided(pod(), ON, narrowed(list))), 'deny role-not-allowed')
    assert.equal(decided(pod(), {}, narrowed('[]')).kind, 'patch')
  })
})

describe('a pod with credentials from the EKS pod identity webhook', () => {
  const file = '/var/run/secrets/eks.amazonaws.com/serviceaccount/token'
  const env = [
    { name: 'AWS_ROLE_ARN', value: ROLE },
    { name: 'AWS_WEB_IDENTITY_TOKEN_FILE', value: file },
  ]
  const served = (annotations: Record<string, string | undefined> = { [KEYS.role]: undefined }) =>
    pod(
      {
        containers: [{ name: 'app', image: 'orders', env }],
        volumes: [{ name: 'aws-iam-token', projected: { sources: [] } }],
      },
      annotations,
    )
  it('is left alone with a warning, at its creation and at the end', () => {
    for (const where of [namespace(), ALL]) {
      const decision = decided(served(), ON, account(), where)
      assert.equal(reasonOf(decision), 'skip served-by-eks')
      assert.match(
        String('warnings' in decision && decision.warnings),
        /EKS pod identity webhook has already given it/,
      )
      assert.equal(decideFinal(served(), where, settings(ON), account()).kind, 'allow')
    }
  })
  it('is injected where it names a role itself, or where EKS does not read our annotation', () => {
    assert.equal(decided(served({})).kind, 'patch')
    const key = 'example.com/role'
    assert.equal(decided(served(), { serviceAccountKey: key }, account({ [key]: ROLE })).kind, 'patch')
  })
  it('keeps a sidecar that it already has', () => {
    const one = injected(PLAIN)
    const { spec } = served() as { spec: Dict }
    const both = { ...one, spec: { ...one.spec, containers: spec.containers } } as Pod
    ;(both.spec as Dict).volumes = [...((one.spec as Dict).volumes as Dict[]), ...(spec.volumes as Dict[])]
    assert.equal(decided(both).reason, 'already-injected')
    assert.equal(decideFinal(withApiServerDefaults(both), namespace(), settings(ON), account()).kind, 'allow')
  })
  it('is not recognized by the volume alone', () => {
    const { volumes } = (served() as { spec: Dict }).spec
    assert.equal(decided(pod({ volumes }, { [KEYS.role]: undefined })).kind, 'patch')
  })
  it('is not recognized by the variable alone, which anybody may write', () => {
    const { containers } = (served() as { spec: Dict }).spec
    assert.equal(decided(pod({ containers }, { [KEYS.role]: undefined })).kind, 'patch')
  })
})

describe('the service account of a pod', () => {
  const asked = async (annotations: Record<string, string | undefined>, where = namespace()) => {
    const names: string[] = []
    const lookUpAccount = async (name: string) => {
      names.push(name)
      return account()
    }
    await accountOf(
      pod({}, { [KEYS.role]: undefined, ...annotations }),
      where,
      { lookUpAccount },
      settings(ON),
    )
    return names
  }
  it('is read for pods that may get a role, and for no others', async () => {
    assert.deepEqual(await asked({}), ['default'])
    assert.deepEqual(await asked({ 'kubernetes.io/config.mirror': 'x' }), [])
    assert.deepEqual(await asked({ [KEYS.inject]: 'false' }), [])
    assert.deepEqual(await asked({ [KEYS.inject]: 'metadata' }), [])
    assert.deepEqual(await asked({}, namespace({ labels: {} })), [])
  })
})

describe('the final pod with the role of its service account', () => {
  const final = (one: Dict, own = account(), by: Partial<InjectionSettings> = ON, where = namespace()) =>
    decideFinal(withApiServerDefaults(one), where, settings(by), own)
  const one = injected(PLAIN)
  it('is admitted', () => {
    assert.equal(final(one).kind, 'allow')
  })
  it('is refused with another role or source, or without the sidecar', () => {
    for (const forged of [withEnv(one, 'POD2IAM_ROLE', OTHER), withEnv(one, 'POD2IAM_IDENTITY', 'default')])
      assert.match(
        sentenceOf(final(forged)),
        /is not the one in its annotations, with the role of its service/,
      )
    assert.equal(reasonOf(final(PLAIN)), 'deny not-injected')
  })
  it('is refused where the account names another role since, or none any more', () => {
    assert.equal(reasonOf(final(one, account({ [ACCOUNT_ROLE_KEY]: OTHER }))), 'deny not-injected')
    assert.equal(reasonOf(final(one, account({}))), 'deny reserved-container')
  })
  it('is refused while the setting is off', () => {
    assert.equal(reasonOf(final(one, account(), {})), 'deny reserved-container')
    const annotated = withEnv(
      withEnv(injected(pod()), 'POD2IAM_IDENTITY', 'service-account'),
      'POD2IAM_ROLE',
      OTHER,
    )
    assert.equal(reasonOf(final(annotated, account(), {})), 'deny not-injected')
  })
  it('gets another role where its account names another one, as in a copied pod', () => {
    const own = account({ [ACCOUNT_ROLE_KEY]: OTHER })
    const patched = applyPatch(one, opsOf(decided(one, ON, own))) as Pod
    assert.deepEqual(identityOf(patched), ['service-account', OTHER])
  })
})

describe('replicas of which only some have the setting on', () => {
  const peer = (object: Dict) =>
    readPeer({ ...object, metadata: { uid: 'a', ...(object.metadata as Dict) } }) ?? assert.fail()
  const flag = '--service-account-roles=true'
  const on = effectiveSettings(settings(ON), [peer(replicaPod('off'))])
  const off = effectiveSettings(settings(), [peer(replicaPod('on', [...IMAGES, flag]))])
  const final = (one: Dict, by: InjectionSettings, where = namespace()) =>
    decideFinal(withApiServerDefaults(one), where, by, account())
  it('accept what the others did', () => {
    for (const where of [namespace(), ALL])
      for (const [first, second] of [
        [on, off],
        [off, on],
      ] as const) {
        const decision = decide(PLAIN, where, first, account())
        const one = decision.kind === 'patch' ? (applyPatch(PLAIN, decision.ops) as Dict) : PLAIN
        assert.equal(final(one, second, where).kind, 'allow')
        const again = decide(one, where, second, account())
        assert.notEqual(again.kind, 'deny')
        const twice = again.kind === 'patch' ? (applyPatch(one, again.ops) as Dict) : one
        for (const by of [first, second]) assert.equal(final(twice, by, where).kind, 'allow')
      }
  })
  const written = (by: InjectionSettings, where = ALL, of = PLAIN, own?: ServiceAccount) =>
    applyPatch(of, opsOf(decide(of, where, by, own ?? account()))) as Pod
  it('all give a pod the role of its account, and not the default role', () => {
    for (const by of [on, off]) {
      assert.deepEqual(identityOf(written(by)), ['service-account', ROLE])
      assert.deepEqual(identityOf(written(by, namespace())), ['service-account', ROLE])
      // What a replica that does not know the others would write.
      assert.equal(reasonOf(final(written(settings()), by, ALL)), 'deny not-injected')
      assert.equal(reasonOf(final(PLAIN, by)), 'deny not-injected')
    }
  })
  it('all refuse a role that the list of the account forbids', () => {
    const narrow = account({ [KEYS.allowedRoles]: JSON.stringify([OTHER]) })
    const one = withApiServerDefaults(written(settings(), namespace(), pod()))
    for (const by of [on, off]) {
      assert.equal(reasonOf(decide(pod(), namespace(), by, narrow)), 'deny role-not-allowed')
      assert.equal(reasonOf(decideFinal(one, namespace(), by, narrow)), 'deny role-not-allowed')
    }
  })
  it('all work as if it were off once the account cannot be read, since the right disappears first', () => {
    for (const first of [on, off])
      for (const second of [on, off]) {
        const one = applyPatch(PLAIN, opsOf(decide(PLAIN, ALL, first))) as Pod
        assert.deepEqual(identityOf(one), ['default', undefined])
        assert.equal(decideFinal(withApiServerDefaults(one), ALL, second).kind, 'allow')
      }
  })
  it('write no such roles after the last one with the setting, but accept those that it has written', () => {
    const after = effectiveSettings(settings(), [], [settings(ON)])
    assert.deepEqual(identityOf(written(after)), ['default', undefined])
    assert.equal(final(written(on), after, ALL).kind, 'allow')
  })
  it('accept no forged role', () => {
    for (const by of [on, off])
      assert.equal(final(withEnv(injected(PLAIN), 'POD2IAM_ROLE', OTHER), by).kind, 'deny')
    const role = account({ [ACCOUNT_ROLE_KEY]: 'arn:aws:iam::111111111111:role/admin' })
    assert.equal(reasonOf(decide(PLAIN, namespace(), on, role)), 'deny role-not-allowed')
  })
  it('inject no such role while a release that does not know it serves', () => {
    const among = effectiveSettings(settings(ON), [peer(strictPod('old'))])
    assert.equal(reasonOf(decide(PLAIN, namespace(), among, account())), 'skip not-annotated')
    assert.equal(final(injected(PLAIN), among).kind, 'allow')
  })
})

describe('the service account of a pod', () => {
  type Answer = {
    response: { allowed: boolean; status?: { code: number; message: string }; warnings?: string[] }
  }
  const asked: string[] = []
  const hooks = (
    get: (path: string) => Promise<unknown>,
    by: Partial<InjectionSettings> = ON,
    where = namespace(),
  ) =>
    webhooks({
      limits: async () => NO_LIMITS,
      accounts: accountLookup({
        get: (path) => {
          asked.push(path)
          return get(path)
        },
      }),
      settings: () => settings(by),
      lookup: async () => where,
      metrics: { observe() {} },
      log: silentLog,
      clock: () => 0,
    })
  const review = async (
    hook: (body: string) => Promise<unknown>,
    object: Dict,
    request: Dict = {},
  ): Promise<Answer['response']> => {
    const whole = reviewOf(object) as { request: Dict }
    const answer = await hook(JSON.stringify({ ...whole, request: { ...whole.request, ...request } }))
    return (answer as { body: Answer }).body.response
  }
  const found = async (path: string) => {
    const [, , , , space, , name] = path.split('/')
    return { metadata: { namespace: space, name, annotations: { [ACCOUNT_ROLE_KEY]: ROLE } } }
  }
  const forbidden = async () => {
    throw new KubeError(403, 'serviceaccounts "orders" is forbidden')
  }
  const own = pod({ serviceAccountName: 'orders' }, { [KEYS.role]: undefined })

  it('is read by its name in the namespace of the pod, once for each review', async () => {
    asked.length = 0
    const { mutate, validate } = hooks(found)
    for (const hook of [mutate, validate, mutate]) await review(hook, own)
    await review(mutate, pod({}, { [KEYS.role]: undefined }))
    const path = '/api/v1/namespaces/shop/serviceaccounts'
    assert.deepEqual(asked, [`${path}/orders`, `${path}/orders`, `${path}/orders`, `${path}/default`])
  })
  it('is not read where it cannot matter', async () => {
    asked.length = 0
    await review(hooks(found, {}).mutate, own)
    await review(hooks(found, ON, namespace({ labels: {} })).mutate, own)
    for (const inject of ['false', 'metadata'])
      await review(hooks(found).mutate, pod({}, { [KEYS.inject]: inject }))
    assert.deepEqual(asked, [])
  })
  it('is not read, but refused, where its name could lead to another path', async () => {
    asked.length = 0
    for (const name of ['../../kube-system/serviceaccounts/admin', 'a/b', 'A', 'x?y'])
      assert.equal((await review(hooks(found).mutate, pod({ serviceAccountName: name }))).status?.code, 503)
    assert.deepEqual(asked, [])
  })
  it('causes a refusal with a sentence where reading it is forbidden, or where it does not exist', async () => {
    const { status } = await review(hooks(forbidden).mutate, own)
    assert.equal(status?.code, 503)
    assert.match(
      status?.message ?? '',
      /"orders": the API server answers 403.*verb get, resource serviceaccounts/,
    )
    const absent = await review(
      hooks(async () => {
        throw new KubeError(404, 'not found')
      }).validate,
      pod(),
    )
    assert.match(absent.status?.message ?? '', /check that it exists/)
  })
  it('causes no such refusal while a replica without the setting serves, too, since the right may be gone already', async () => {
    const among = { ...ON, otherServiceAccountKeys: [undefined] }
    assert.equal((await review(hooks(forbidden, among).mutate, own)).allowed, true)
  })
  it('causes a warning at apply where its list cannot be read, whether it names a role or not', async () => {
    const resource = { group: '', version: 'v1', resource: 'serviceaccounts' }
    const applied = async (annotations: Dict, by: Partial<InjectionSettings> = ON) => {
      const account = { metadata: { name: 'orders', annotations } }
      return String((await review(hooks(found, by).warn, account, { resource })).warnings)
    }
    const regexps = { ...ON, policy: { ...settings().policy, format: 'regexp' } } as const
    for (const role of [{}, { [ACCOUNT_ROLE_KEY]: ROLE }, { [ACCOUNT_ROLE_KEY]: 'by-name' }])
      for (const [list, by] of [
        ['shop-*', ON],
        ['{}', ON],
        [`["${'x'.repeat(17_000)}"]`, ON],
        ['["("]', regexps],
      ] as const)
        assert.match(
          await applied({ ...role, [KEYS.allowedRoles]: list }, by),
          /^pod2iam: pods of service account shop\/orders with a role will be refused until its list is corrected or removed: annotation .*, so nothing is allowed$/,
        )
    for (const list of ['["shop-*"]', '[]'])
      assert.equal(await applied({ [KEYS.allowedRoles]: list }), 'undefined', list)
  })
  it('causes a warning at apply where it has a list and roles of service accounts are off', async () => {
    const resource = { group: '', version: 'v1', resource: 'serviceaccounts' }
    const applied = async (annotations: Dict, by: Partial<InjectionSettings> = {}, where = namespace()) => {
      const account = { metadata: { name: 'orders', annotations } }
      return String((await review(hooks(found, by, where).warn, account, { resource })).warnings)
    }
    const narrow = { [KEYS.allowedRoles]: '["shop-orders"]' }
    assert.equal(
      await applied(narrow),
      'pod2iam: annotation iam.amazonaws.com/allowed-roles of service account shop/orders has no effect, because roles of service accounts are off: ' +
        'have the operator turn on policy.serviceAccountRoles, or narrow the list of namespace shop',
    )
    assert.equal(await applied({ [ACCOUNT_ROLE_KEY]: ROLE }), 'undefined')
    assert.equal(await applied(narrow, {}, namespace({ labels: {} })), 'undefined')
    // Another replica has them on already, or still.
    assert.equal(await applied(narrow, { otherServiceAccountKeys: [ACCOUNT_ROLE_KEY] }), 'undefined')
  })
  it('causes a warning at apply, as does a template, where the pods will be refused', async () => {
    const resource = { group: '', version: 'v1', resource: 'serviceaccounts' }
    const applied = (annotations: Dict, where = namespace()) =>
      review(hooks(found, ON, where).warn, { metadata: { name: 'orders', annotations } }, { resource })
    assert.equal((await applied({ [ACCOUNT_ROLE_KEY]: ROLE })).warnings, undefined)
    const { allowed, warnings } = await applied({
      [ACCOUNT_ROLE_KEY]: 'arn:aws:iam::111111111111:role/admin',
    })
    assert.ok(allowed)
    assert.match(
      String(warnings),
      /pods of service account shop\/orders that name no role themselves will be ref/,
    )
    assert.match(
      String((await applied({ [ACCOUNT_ROLE_KEY]: ROLE, [KEYS.allowedRoles]: '[]' })).warnings),
      /service account shop\/orders may not use role/,
    )
    assert.equal(
      (await applied({ [ACCOUNT_ROLE_KEY]: 'x y' }, namespace({ labels: {} }))).warnings,
      undefined,
    )
    assert.equal((await applied({ [KEYS.allowedRoles]: '[]' })).warnings, undefined)
    const narrow = async (path: string) => {
      const { metadata } = await found(path)
      return { metadata: { ...metadata, annotations: { [KEYS.allowedRoles]: '[]' } } }
    }
    const template = { metadata: { annotations: { [KEYS.role]: ROLE } }, spec: (own as { spec: Dict }).spec }
    const workload = { metadata: { name: 'orders' }, spec: { template } }
    const deployments = { group: 'apps', version: 'v1', resource: 'deployments' }
    const warned = await review(hooks(narrow).warn, workload, { resource: deployments })
    assert.match(
      String(warned.warnings),
      /pods of this workload will be refused: service account shop\/orders/,
    )
  })
})
