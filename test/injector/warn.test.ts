/** The webhook behind `/warn`: its warnings about pods, workloads and namespaces, and that it refuses nothing. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { webhooks } from '../../injector/admission/webhook.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { type LimitsLookup, NO_LIMITS } from '../../injector/warnings/namespace-limits.ts'
import { type Dict, namespace, noAccounts, pod, reviewOf, settings } from './fixtures.ts'

const errors: unknown[] = []
const log = { debug() {}, info() {}, warn() {}, error: (text: unknown) => errors.push(text) }

async function warned(
  request: Dict,
  lookup = async (): Promise<Namespace> => namespace(),
  limits: LimitsLookup = async () => NO_LIMITS,
) {
  const { warn } = webhooks({
    accounts: noAccounts,
    settings: () => settings(),
    lookup,
    metrics: { observe() {} },
    log,
    clock: () => 0,
    limits,
  })
  const review = reviewOf(pod())
  const answer = await warn(
    JSON.stringify({ ...review, request: { ...(review.request as Dict), ...request } }),
  )
  assert.equal(answer.status, 200)
  const { response } = (answer as { body: Dict }).body as { response: Dict }
  assert.equal(response.patch, undefined)
  return { allowed: response.allowed as boolean, warnings: (response.warnings ?? []) as string[] }
}

const RESOURCE = {
  deployments: { group: 'apps', version: 'v1', resource: 'deployments' },
  cronjobs: { group: 'batch', version: 'v1', resource: 'cronjobs' },
  namespaces: { group: '', version: 'v1', resource: 'namespaces' },
}
const OUTSIDE = namespace({ labels: {} })
const TYPO = 'iam.amazonaws.com/rol'
const unasked = (annotations: Record<string, string> = {}, labels: Dict = {}) =>
  pod({}, { [KEYS.role]: undefined, ...annotations }, labels)
const never = async (): Promise<Namespace> => assert.fail('no look-up is needed')

describe('a workload', () => {
  const deployment = (template: Dict): Dict => ({ kind: 'Deployment', spec: { template } })
  const apply = (object: Dict, where = namespace(), resource = RESOURCE.deployments) =>
    warned({ resource, object }, async () => where)

  it('whose pods will get a role is applied without a warning', async () => {
    const { allowed, warnings } = await apply(deployment(pod()))
    assert.deepEqual([allowed, warnings], [true, []])
  })

  it('whose pods will be refused is applied with a warning that says why', async () => {
    const { allowed, warnings } = await apply(deployment(pod({ hostNetwork: true })))
    assert.equal(allowed, true)
    assert.match(
      warnings[0] ?? '',
      /^pod2iam: pods of this workload will be refused: a pod on the host network/,
    )
  })

  it('that asks in a namespace that is not opted in is applied with a warning', async () => {
    const { warnings } = await apply(deployment(pod()), namespace({ labels: {} }))
    assert.match(warnings[0] ?? '', /is not opted in.*kubectl label namespace shop/)
  })

  it('can be a CronJob, whose template is nested deeper', async () => {
    const cronJob = {
      kind: 'CronJob',
      spec: { jobTemplate: { spec: { template: pod({}, { [KEYS.role]: '' }) } } },
    }
    const { warnings } = await apply(cronJob, namespace(), RESOURCE.cronjobs)
    assert.match(warnings[0] ?? '', /the role is empty/)
  })

  it('is never refused, whatever it contains and however the look-up ends', async () => {
    for (const object of [{}, { spec: null }, { spec: { template: 1 } }, deployment({})])
      assert.equal((await apply(object)).allowed, true)
    const failing = await warned({ resource: RESOURCE.deployments, object: deployment(pod()) }, async () =>
      Promise.reject(new Error('x')),
    )
    assert.deepEqual([failing.allowed, failing.warnings], [true, []])
  })

  it('whose template has a misspelt key or value is applied with a warning, even without a role', async () => {
    const template = unasked({ [TYPO]: 'x', [KEYS.redirect]: 'nfs' })
    const { warnings } = await warned({ resource: RESOURCE.deployments, object: deployment(template) }, never)
    assert.deepEqual(warnings, [
      'pod2iam: annotation pod2iam.dev/redirect must be "nft" or "env", not "nfs": did you mean "nft"?',
      `pod2iam: annotation "${TYPO}" means nothing to pod2iam: did you mean ${KEYS.role}?`,
    ])
  })

  it('whose pods would be refused for a value is applied with only one warning about it', async () => {
    const { warnings } = await apply(deployment(pod({}, { [KEYS.redirect]: 'nfs' })))
    assert.equal(warnings.length, 1)
    assert.match(warnings[0] ?? '', /will be refused: annotation pod2iam\.dev\/redirect must be/)
  })

  it('with an annotation outside its template is applied with a warning about where it belongs', async () => {
    const object = {
      ...deployment(unasked()),
      metadata: { name: 'x', annotations: { [KEYS.role]: 'reader' } },
    }
    const { warnings } = await warned({ resource: RESOURCE.deployments, object }, never)
    assert.match(warnings.join(), /has no effect on the workload itself: write it into the template/)
  })
})

describe('a pod of no controller', () => {
  const apply = (object: Dict, where?: Namespace) =>
    warned({ object }, where === undefined ? never : async () => where)

  it('that asks in a namespace that is not opted in is created with the same warning as a Deployment', async () => {
    const { allowed, warnings } = await apply(pod(), OUTSIDE)
    assert.equal(allowed, true)
    assert.equal(warnings.length, 1)
    assert.match(
      warnings[0] ?? '',
      /is not opted in, so it gets no credentials: kubectl label namespace shop/,
    )
  })

  it('that asks in an opted-in namespace is left to the other webhooks', async () => {
    assert.deepEqual((await apply(pod({ hostNetwork: true }), namespace())).warnings, [])
  })

  it('with a misspelt key or value is created with a warning in every namespace', async () => {
    const { warnings } = await apply(unasked({ [TYPO]: 'x' }, { [KEYS.injection]: 'enabled' }))
    assert.match(
      warnings.join('\n'),
      /did you mean iam\.amazonaws\.com\/role\?\n.*it belongs on the namespace/,
    )
    assert.match(
      (await apply(unasked({ [KEYS.inject]: 'flase' }), namespace())).warnings.join(),
      /mean "false"\?/,
    )
  })

  it('that was copied from an injected pod is created without a warning', async () => {
    const copied = pod({}, { [KEYS.status]: '{}' }, { [KEYS.injected]: 'true' })
    assert.deepEqual((await apply(copied, namespace())).warnings, [])
  })

  it('is created without a warning where the namespace cannot be read, or where the pod has too many annotations', async () => {
    const failing = async () => Promise.reject(new Error('x'))
    assert.deepEqual(await warned({ object: pod() }, failing), { allowed: true, warnings: [] })
    const many = Object.fromEntries(
      Array.from({ length: 10_000 }, (_, index) => [`pod2iam.dev/x${index}`, '']),
    )
    const { allowed, warnings } = await apply(unasked(many))
    assert.deepEqual([allowed, warnings], [true, []])
  })

  it('is created without an error, whatever its shape', async () => {
    const before = errors.length
    for (const object of [
      {},
      { metadata: null },
      { metadata: { annotations: 1, labels: [] } },
      { spec: 'x' },
    ])
      assert.equal((await warned({ object })).allowed, true)
    for (const request of [{ operation: 'DELETE', object: null }, { subResource: 'status' }, { resource: 1 }])
      assert.deepEqual(await warned(request), { allowed: true, warnings: [] })
    assert.equal(errors.length, before)
  })
})

describe('a namespace', () => {
  const apply = (labels: Dict, annotations: Dict = {}, limits?: LimitsLookup) =>
    warned(
      {
        operation: limits === undefined ? 'CREATE' : 'UPDATE',
        resource: RESOURCE.namespaces,
        object: { kind: 'Namespace', metadata: { name: 'shop', labels, annotations } },
      },
      never,
      limits,
    )

  it('with misspelt labels and annotations is applied with a warning about each', async () => {
    const { allowed, warnings } = await apply(
      { [KEYS.injection]: 'enable' },
      { 'iam.amazonaws.com/allowed-role': '["x"]', [KEYS.allowedRoles]: 'x' },
    )
    assert.equal(allowed, true)
    assert.deepEqual(warnings, [
      'pod2iam: label pod2iam.dev/injection is "enable", and only "enabled" and "all" opt a namespace in: did you mean "enabled"?',
      `pod2iam: annotation ${KEYS.allowedRoles} of namespace shop is not a JSON array of at most 256 strings, so nothing is allowed`,
      `pod2iam: annotation "iam.amazonaws.com/allowed-role" means nothing to pod2iam: did you mean ${KEYS.allowedRoles}?`,
    ])
  })

  it('with a LimitRange is opted in with a warning about its pods, but not about a gate that they do not have in mode env', async () => {
    const range = { spec: { limits: [{ type: 'Container', max: { memory: '50Mi' } }] } }
    const limits = async () => ({ ...NO_LIMITS, limitRanges: [range] })
    const labels = { [KEYS.injection]: 'enabled' }
    const strict = { ...labels, 'pod-security.kubernetes.io/enforce': 'restricted' }
    assert.match((await apply(labels, {}, limits)).warnings.join(), /pod2iam-gate has a limit of 64Mi/)
    assert.deepEqual((await apply(labels, { [KEYS.redirect]: 'env' }, limits)).warnings, [])
    assert.deepEqual((await apply(strict, {}, limits)).warnings, [])
  })

  it('that is valid is applied without a warning', async () => {
    const { warnings } = await apply({ [KEYS.injection]: 'enabled' }, { [KEYS.allowedRoles]: '["reader"]' })
    assert.deepEqual(warnings, [])
  })
})

it('an object is applied even when the webhook itself fails', async () => {
  const broken = {
    ...settings(),
    get policy(): never {
      throw new Error('broken')
    },
  }
  const { warn } = webhooks({
    accounts: noAccounts,
    settings: () => broken,
    lookup: async () => OUTSIDE,
    metrics: { observe() {} },
    log,
    clock: () => 0,
    limits: async () => NO_LIMITS,
  })
  const object = { metadata: { name: 'shop', annotations: { [KEYS.allowedRoles]: '[]' } } }
  const review = reviewOf(object)
  const request = { ...(review.request as Dict), resource: RESOURCE.namespaces }
  const answer = await warn(JSON.stringify({ ...review, request }))
  const { response } = (answer as { body: Dict }).body as { response: Dict }
  assert.equal(response.allowed, true)
  assert.equal(errors.at(-1), 'no warning could be given')
})
