/** Properties of any pod and any review, with fast-check. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { KEYS } from '../../common/keys.ts'
import { webhooks } from '../../injector/admission/webhook.ts'
import { REASONS } from '../../injector/reasons.ts'
import { NO_LIMITS } from '../../injector/warnings/namespace-limits.ts'
import { silentLog } from '../support/log.ts'
import {
  applyPatch,
  type Dict,
  decide,
  namespace,
  noAccounts,
  pod,
  ROLE,
  reviewOf,
  settings,
  withApiServerDefaults,
} from './fixtures.ts'
import { arbitraryOf } from './schema-arbitrary.ts'

const RUNS = 400
const OUR_NAMES = ['pod2iam-sidecar', 'pod2iam-gate', 'pod2iam-token', 'pod2iam-state', 'pod2iam-no-api']

/** Usually one value; now and then another one, which may be the only reason why a pod is refused. */
function mostly<T>(usual: T, ...others: readonly T[]) {
  return fc.oneof(
    { arbitrary: fc.constant(usual), weight: 12 },
    { arbitrary: fc.constantFrom(usual, ...others), weight: 1 },
  )
}
const name = fc.oneof(
  {
    arbitrary: fc.constantFrom('app', 'web', 'istio-init', 'istio-proxy', 'linkerd-init', 'migrate', 'x~y/z'),
    weight: 30,
  },
  { arbitrary: fc.constant('pod2iam-gate'), weight: 1 },
)
const env = fc.record({
  name: fc.constantFrom('A', 'AWS_PROFILE', 'AWS_EC2_METADATA_SERVICE_ENDPOINT', 'POD2IAM_ROLE'),
  value: fc.string(),
})
const container = fc.record(
  {
    name,
    image: fc.string(),
    restartPolicy: fc.constantFrom('Always', null),
    env: fc.oneof(fc.array(env, { maxLength: 3 }), fc.constant(null)),
    resources: fc.constantFrom(
      {},
      { limits: { cpu: '1', memory: '1Gi' } },
      { requests: { cpu: '750m' } },
      { requests: { cpu: '12' }, limits: { cpu: '16' } },
    ),
    ports: fc.array(fc.record({ containerPort: mostly(80, 9169) }), { maxLength: 2 }),
    futureField: fc.jsonValue(),
  },
  { requiredKeys: ['name'] },
)
const likelyPod = fc.record({
  apiVersion: fc.constant('v1'),
  kind: fc.constant('Pod'),
  metadata: fc.record(
    {
      name: fc.string(),
      labels: fc.oneof(fc.constant(null), fc.dictionary(fc.string(), fc.string(), { maxKeys: 3 })),
      annotations: fc.record(
        {
          [KEYS.role]: mostly(ROLE, 'shop-x', 'arn:x', '', 'arn:aws:iam::111111111111:role/admin'),
          [KEYS.inject]: mostly('metadata', 'false', 'yes'),
          [KEYS.redirect]: fc.oneof(mostly('nft', 'x'), mostly('env', 'x')),
          [KEYS.status]: fc.string(),
          'a~b/c': fc.string(),
        },
        { requiredKeys: [] },
      ),
      futureField: fc.jsonValue(),
    },
    { requiredKeys: [] },
  ),
  spec: fc.record(
    {
      containers: fc.array(container, { minLength: 1, maxLength: 3 }),
      initContainers: fc.oneof(fc.constant(null), fc.array(container, { maxLength: 4 })),
      volumes: fc.oneof(
        fc.constant(null),
        fc.array(fc.record({ name: mostly('a', 'pod2iam-token') }), { maxLength: 2 }),
      ),
      hostNetwork: mostly(false, true),
      futureField: fc.jsonValue(),
    },
    { requiredKeys: ['containers'] },
  ),
})
/** Any pod that the types of the API allow, with annotations that make the injector look at it. */
const podOfSchema = fc
  .record({
    spec: arbitraryOf('V1PodSpec', 5),
    metadata: arbitraryOf('V1ObjectMeta', 2),
    status: fc.option(arbitraryOf('V1PodStatus', 2), { nil: undefined }),
    container: arbitraryOf('V1Container', 4),
    annotations: fc.record(
      { [KEYS.role]: mostly(ROLE, 'x'), [KEYS.redirect]: fc.constantFrom('nft', 'env') },
      { requiredKeys: [KEYS.role] },
    ),
  })
  .map(({ spec, metadata, status, container, annotations }) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, annotations: { ...(metadata.annotations as Dict), ...annotations } },
    spec: { ...spec, containers: [...(spec.containers as Dict[]), container] },
    ...(status === undefined ? {} : { status }),
  }))
const anyNamespace = fc.record({
  name: fc.constantFrom('shop', 'jobs'),
  labels: fc.constantFrom(
    {},
    { [KEYS.injection]: 'enabled' },
    { [KEYS.injection]: 'all' },
    {
      [KEYS.injection]: 'all',
      'pod-security.kubernetes.io/enforce': 'restricted',
    },
  ),
  annotations: fc.constantFrom<Record<string, string>>(
    {},
    namespace().annotations as Record<string, string>,
    { [KEYS.allowedRoles]: '[' },
  ),
})

for (const [what, anyPod, runs] of [
  ['any pod that is about to be injected', likelyPod, RUNS],
  ['any pod of the schema', podOfSchema, 250],
] as const)
  describe(what, () => {
    it('is left alone, refused with a sentence, or patched only by additions', () => {
      let patched = 0
      fc.assert(
        fc.property(anyPod, anyNamespace, (given: Dict, where) => {
          const original = JSON.stringify(given)
          const decision = decide(given, where, settings())
          assert.equal(JSON.stringify(given), original, 'decide changed its input')
          assert.ok(decision.reason in REASONS)
          if (decision.kind === 'deny') assert.ok(decision.sentence.length > 10)
          if (decision.kind !== 'patch') return
          patched++
          for (const { op, path } of decision.ops) {
            assert.ok(
              op === 'add' || (op === 'replace' && path.startsWith('/spec/initContainers/')),
              `${op} ${path}`,
            )
          }
          const result = applyPatch(given, decision.ops) as Dict
          assert.equal(JSON.stringify(withoutAdditions(result, given)), JSON.stringify(normal(given)))
        }),
        { numRuns: runs },
      )
      assert.ok(patched > runs / 8, `only ${patched} pods were patched: the property says little`)
    })

    it('is unchanged in a second pass, with and without the defaults of the API server', () => {
      fc.assert(
        fc.property(anyPod, anyNamespace, (given: Dict, where) => {
          const first = decide(given, where, settings())
          if (first.kind !== 'patch') return
          const once = applyPatch(given, first.ops)
          for (const again of [once, withApiServerDefaults(once)]) {
            const second = decide(again, where, settings())
            assert.deepEqual([second.reason, second.kind === 'patch' && second.ops], ['already-injected', []])
          }
        }),
        { numRuns: runs },
      )
    })
  })

describe('any review', () => {
  const dependencies = {
    settings: () => settings(),
    lookup: async () => namespace(),
    metrics: { observe() {} },
    log: silentLog,
    clock: () => 0,
  }
  const all = webhooks({ ...dependencies, limits: async () => NO_LIMITS, accounts: noAccounts })
  /** JSON that looks like a review, with unexpected values in some places. */
  const almost = fc
    .tuple(
      fc.constantFrom(
        'apiVersion',
        'kind',
        'request',
        'uid',
        'namespace',
        'operation',
        'resource',
        'object',
        'metadata',
        'spec',
        'annotations',
        'containers',
        'initContainers',
        'oldObject',
        'subResource',
      ),
      fc.jsonValue(),
    )
    .map(([key, value]) => {
      const review = JSON.parse(JSON.stringify(reviewOf(pod({ initContainers: [{ name: 'x' }] }))))
      return JSON.stringify(review, (member, old) => (member === key ? value : old))
    })

  for (const [name, webhook] of Object.entries(all))
    it(`gets a well-formed answer from ${name}, whatever it contains`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.oneof(almost, fc.json(), fc.string()), async (body) => {
          const answer = await webhook(body)
          if (answer.status === 400) return assert.match(answer.text, /^pod2iam: the .*\n$/)
          const { apiVersion, kind, response } = answer.body as {
            apiVersion: string
            kind: string
            response: Dict
          }
          assert.deepEqual([apiVersion, kind], ['admission.k8s.io/v1', 'AdmissionReview'])
          assert.equal(response.uid, JSON.parse(body).request.uid)
          assert.equal(typeof response.allowed, 'boolean')
          if (name === 'warn') assert.equal(response.allowed, true)
          if (response.allowed === false)
            assert.match((response.status as Dict).message as string, /^pod2iam: /)
          if (response.patch !== undefined) assert.equal(response.patchType, 'JSONPatch')
          assert.notEqual((response.auditAnnotations as Dict).reason, 'internal-error')
        }),
        { numRuns: RUNS },
      )
    })
})

/** A pod in which `null` and an absent field are the same, as are an empty list or object and an absent one. */
function normal(given: Dict): Dict {
  return withoutAdditions(given, given)
}

function withoutAdditions(value: Dict, original: Dict): Dict {
  const copy = structuredClone(value) as { metadata: Dict; spec: Dict }
  const before = structuredClone(original) as { metadata: Dict; spec: Dict }
  for (const [field, key] of [
    ['labels', KEYS.injected],
    ['annotations', KEYS.status],
  ] as const) {
    const entries = copy.metadata[field] as Dict | null | undefined
    if (entries) delete entries[key]
    if (entries && Object.keys(entries).length === 0) delete copy.metadata[field]
    if (entries === null) delete copy.metadata[field]
  }
  for (const field of ['volumes', 'initContainers'] as const) {
    const list = ((copy.spec[field] as Dict[] | null) ?? []).filter(
      (one) => !OUR_NAMES.includes(String(one.name)),
    )
    const had = Array.isArray(before.spec[field])
    if (list.length === 0 && !had) delete copy.spec[field]
    else copy.spec[field] = list
  }
  for (const one of [...(copy.spec.containers as Dict[]), ...((copy.spec.initContainers as Dict[]) ?? [])]) {
    const list = ((one.env as Dict[] | null) ?? []).filter(({ value }) => value !== 'http://127.0.0.1:9169/')
    delete one.env
    if (list.length > 0) one.env = list
  }
  return sorted(copy) as Dict
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => [key, sorted(member)]),
  )
}
