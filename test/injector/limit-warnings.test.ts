/** LimitRanges and ResourceQuotas that our containers violate: the warnings at apply, and what reading the objects may cost. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { KubeError } from '../../common/kube/client.ts'
import { MIN_LIMITS } from '../../injector/resources/resources.ts'
import { namespaceLimitWarnings, podLimitWarnings } from '../../injector/warnings/limit-warnings.ts'
import { type NamespaceLimits, NO_LIMITS, namespaceLimits } from '../../injector/warnings/namespace-limits.ts'
import { applyPatch, type Dict, decide, namespace, opsOf, pod, settings } from './fixtures.ts'

const limitRange = (...limits: Dict[]) => ({ metadata: { name: 'bounds' }, spec: { limits } })
const container = (item: Dict) => limitRange({ type: 'Container', ...item })
const quota = (hard: Dict, used: Dict = {}, more: Dict = {}) => ({
  metadata: { name: 'compute' },
  spec: { hard, ...more },
  status: { hard, used },
})

function said(
  limits: Partial<Record<keyof NamespaceLimits, readonly Dict[]>>,
  object: Dict = pod(),
): string[] {
  const decision = decide(object, namespace(), settings())
  assert.ok(decision.kind === 'patch', decision.reason)
  const all = { ...NO_LIMITS, ...limits } as NamespaceLimits
  return podLimitWarnings('pods of this workload', object, decision.resources, all, settings())
}
const ranged = (range: Dict, object?: Dict) => said({ limitRanges: [range] }, object)
const ANNOTATED = /annotate the pods with pod2iam\.dev\/sidecar-resources: (\{.*\})$/

describe('a LimitRange', () => {
  it('that our containers satisfy causes no warning', () => {
    assert.deepEqual(
      ranged(
        limitRange(
          { type: 'Container', max: { cpu: '1', memory: '1Gi' }, min: { cpu: '1m', memory: '4Mi' } },
          { type: 'Pod', max: { cpu: '2', memory: '2Gi' } },
          { type: 'PersistentVolumeClaim', max: { storage: '1Gi' } },
        ),
      ),
      [],
    )
  })

  it('whose maximum is below our limits causes a warning with the numbers, our containers and an annotation that helps', () => {
    assert.deepEqual(ranged(container({ max: { cpu: '256m', memory: '2Gi' } })), [
      'pods of this workload will be refused: LimitRange bounds allows a container at most 256m of cpu, while pod2iam-sidecar has a ' +
        'limit of 500m and pod2iam-gate has a limit of 500m: change it, or annotate the pods with pod2iam.dev/sidecar-resources: ' +
        '{"limits":{"cpu":"256m"}}',
    ])
  })

  it('that only the gate violates causes a warning about the gate alone', () => {
    const [text = ''] = ranged(container({ max: { memory: '50Mi' } }))
    assert.match(text, /at most 50Mi of memory, while pod2iam-gate has a limit of 64Mi: change it/)
    assert.doesNotMatch(text, /pod2iam-sidecar has/)
  })

  it('that only the gate violates causes no warning for a pod that starts in one stage, nor for a namespace of such pods', () => {
    const range = container({ max: { memory: '50Mi' } })
    const env = (spec: Dict) => pod(spec, { [KEYS.redirect]: 'env' })
    assert.deepEqual(ranged(range, env({})), [])
    assert.match(ranged(range, env({ hostIPC: true })).join(), /pod2iam-gate has a limit of 64Mi/)
    const limits = { limitRanges: [range] } as unknown as NamespaceLimits
    assert.equal(namespaceLimitWarnings(limits, settings()).length, 1)
    assert.deepEqual(namespaceLimitWarnings(limits, settings(), 'env'), [])
    assert.equal(namespaceLimitWarnings(limits, settings({ start: 'two-stage' }), 'env').length, 1)
  })

  it('that a pod of one stage violates causes a warning with the sidecar and an annotation that helps', () => {
    const range = container({ max: { cpu: '256m' } })
    assert.deepEqual(ranged(range, pod({}, { [KEYS.redirect]: 'env' })), [
      'pods of this workload will be refused: LimitRange bounds allows a container at most 256m of cpu, while pod2iam-sidecar has a ' +
        'limit of 500m: change it, or annotate the pods with pod2iam.dev/sidecar-resources: {"limits":{"cpu":"256m"}}',
    ])
  })

  for (const [what, item] of [
    ['a maximum', { max: { cpu: '100m', memory: '40Mi' } }],
    ['a maximum that only the gate exceeds', { max: { memory: '50Mi' } }],
    ['a minimum below our limits', { min: { cpu: '10m', memory: '20Mi' } }],
    ['a minimum above our limits', { min: { cpu: '10m', memory: '100Mi' } }],
    ['a ratio', { maxLimitRequestRatio: { cpu: '10', memory: '1.5' } }],
    [
      'a maximum, a minimum and a ratio together',
      { max: { cpu: '200m' }, min: { cpu: '20m' }, maxLimitRequestRatio: { cpu: '4', memory: '2' } },
    ],
  ] as const)
    it(`of ${what} is satisfied by pods with the annotation in the warning`, () => {
      const range = container(item)
      const [text = ''] = ranged(range)
      const annotation = ANNOTATED.exec(text)?.[1]
      assert.ok(annotation, text)
      assert.deepEqual(ranged(range, pod({}, { [KEYS.sidecarResources]: annotation })), [])
    })

  for (const [what, item] of [
    ['with a maximum below what our containers need', { max: { memory: '24Mi' } }],
    ['with a minimum above what the operator allows', { min: { memory: '1Gi' } }],
    ['that contradicts itself', { max: { cpu: '100m' }, min: { cpu: '200m' } }],
  ] as const)
    it(`${what} causes a warning without an annotation, since none helps`, () => {
      const [text = ''] = ranged(container(item))
      assert.match(text, /^pods of this workload will be refused: LimitRange bounds .*: change it$/)
    })

  for (const [what, cpu, spec] of [
    [
      'of a Guaranteed pod',
      '300m',
      { containers: [{ name: 'app', image: 'x', resources: { limits: { cpu: '1', memory: '1Gi' } } }] },
    ],
    [
      'of a pod that leaves us nothing',
      '20m',
      {
        resources: { limits: { cpu: '1' } },
        containers: [{ name: 'app', image: 'x', resources: { requests: { cpu: '1m' } } }],
      },
    ],
  ] as const)
    it(`whose minimum is out of reach ${what} causes a warning without an annotation, since none helps`, () => {
      const [text = ''] = ranged(container({ min: { cpu } }), pod(spec))
      assert.match(text, /no less than .* of cpu, while pod2iam-sidecar requests .*: change it$/)
    })

  it('whose maximum for a pod is exceeded only because of our containers causes a warning', () => {
    const range = limitRange({ type: 'Pod', max: { memory: '128Mi' } })
    const of = (memory: string) =>
      pod({ containers: [{ name: 'app', image: 'x', resources: { limits: { memory } } }] })
    assert.deepEqual(ranged(range, of('80Mi')), [])
    assert.deepEqual(ranged(range, of('100Mi')), [
      'pods of this workload will be refused: LimitRange bounds allows a pod at most 128Mi of memory, while it has a limit of 148Mi ' +
        'with pod2iam-sidecar: change it, or give the containers less',
    ])
    assert.deepEqual(ranged(range, of('200Mi')), [], 'the pod alone exceeds it')
  })

  it('that bounds containers and pods causes a warning without an annotation, which would help only the containers', () => {
    const range = limitRange(
      { type: 'Container', max: { cpu: '256m' } },
      { type: 'Pod', max: { memory: '40Mi' } },
    )
    const [text = ''] = ranged(range)
    assert.match(
      text,
      /at most 256m of cpu.*, and allows a pod at most 40Mi.*: change it, or give the containers less$/,
    )
  })

  it('is compared with the pod-level resources, where the pod has any', () => {
    const range = limitRange({ type: 'Pod', max: { memory: '128Mi' } })
    const containers = [{ name: 'app', image: 'x', resources: { limits: { memory: '100Mi' } } }]
    assert.deepEqual(ranged(range, pod({ containers, resources: { limits: { memory: '128Mi' } } })), [])
  })

  it('that is malformed causes no warning', () => {
    for (const range of [
      {},
      { spec: 1 },
      { spec: { limits: {} } },
      limitRange({}),
      container({ max: 1, min: null }),
    ])
      assert.deepEqual(ranged(range), [])
    assert.deepEqual(ranged(container({ max: { cpu: {}, memory: 'x' } })), [])
  })

  it('that our containers violate causes a warning when its namespace is opted in', () => {
    const limits = { limitRanges: [container({ max: { cpu: '256m' } })] } as unknown as NamespaceLimits
    const [text = ''] = namespaceLimitWarnings(limits, settings())
    assert.match(
      text,
      /^pods that get a sidecar will be refused: LimitRange bounds allows a container at most 256m/,
    )
  })

  it('that only small pods violate causes a warning about these when its namespace is opted in', () => {
    const limits = { limitRanges: [container({ min: { cpu: '50m' } })] } as unknown as NamespaceLimits
    const [text = ''] = namespaceLimitWarnings(limits, settings())
    assert.match(
      text,
      /^pods that get a sidecar and request little CPU will be refused: LimitRange bounds allows a container no less than 50m/,
    )
  })

  it('is compared with what our containers request in this pod', () => {
    const of = (cpu: string) =>
      pod({ containers: [{ name: 'app', image: 'x', resources: { requests: { cpu } } }] })
    for (const item of [{ min: { cpu: '50m' } }, { maxLimitRequestRatio: { cpu: '10' } }]) {
      const range = container(item)
      assert.deepEqual(ranged(range, of('5')), [])
      const [text = ''] = ranged(range, of('4'))
      const annotation = ANNOTATED.exec(text)?.[1]
      assert.equal(annotation, '{"requests":{"cpu":"50m"}}')
      const annotated = { ...of('4'), metadata: pod({}, { [KEYS.sidecarResources]: annotation }).metadata }
      assert.deepEqual(ranged(range, annotated), [])
    }
  })
})

describe('a ResourceQuota', () => {
  const app = (cpu: string, memory: string) =>
    pod({ containers: [{ name: 'app', image: 'x', resources: { limits: { cpu, memory } } }] })
  const counted = (hard: Dict, used: Dict, object: Dict = app('1', '512Mi'), more: Dict = {}) =>
    said({ quotas: [quota(hard, used, more)] }, object)

  it('with enough room causes no warning', () =>
    assert.deepEqual(
      counted({ 'limits.memory': '2Gi', pods: '1' }, { 'limits.memory': '1Gi', pods: '1' }),
      [],
    ))

  it('that has no room for our containers causes a warning with what is left and what is needed', () => {
    assert.deepEqual(counted({ 'limits.memory': '1Gi' }, { 'limits.memory': '504Mi' }), [
      'pods of this workload will be refused until there is room: ResourceQuota compute has 520Mi of its 1Gi of limits.memory left, ' +
        'and a pod needs 560Mi with pod2iam-sidecar, 512Mi without: raise it, or ask for less with pod2iam.dev/sidecar-resources',
    ])
  })

  it('that is too small for any such pod causes a warning that says so', () => {
    const [text = ''] = counted({ 'requests.cpu': '1' }, {})
    assert.match(
      text,
      /^pods of this workload will be refused: ResourceQuota compute allows 1 of requests\.cpu in all, and a pod needs 1200m with pod2iam-sidecar, 1 without: raise it/,
    )
  })

  it('needs room only for the sidecar, a hundredth of what the pod requests, since the gate runs before the app', () => {
    const burstable = pod({
      containers: [{ name: 'app', image: 'x', resources: { requests: { cpu: '2' } } }],
    })
    assert.deepEqual(counted({ 'requests.cpu': '2020m' }, {}, burstable), [])
    assert.match(
      counted({ 'requests.cpu': '2019m' }, {}, burstable).join(),
      /allows 2019m of requests\.cpu in all, and a pod needs 2020m with pod2iam-sidecar, 2 without/,
    )
  })

  it('that has no room for the pod alone causes no warning of ours', () =>
    assert.deepEqual(counted({ 'limits.memory': '1Gi' }, { 'limits.memory': '1000Mi' }), []))

  it('counts the pod-level resources, where the pod has any', () => {
    const object = app('1', '512Mi')
    const spec = { ...(object.spec as Dict), resources: { limits: { memory: '512Mi' } } }
    assert.deepEqual(counted({ 'limits.memory': '512Mi' }, {}, { ...object, spec }), [])
  })

  it('counts only the pods of its scopes, as far as they can be known', () => {
    const full = [{ 'limits.memory': '512Mi' }, {}] as const
    const scoped = (more: Dict, object?: Dict) => counted(...full, object, more).length
    assert.equal(scoped({ scopes: ['NotBestEffort', 'NotTerminating'] }), 1)
    for (const scopes of [['BestEffort'], ['Terminating'], ['PriorityClass'], ['CrossNamespacePodAffinity']])
      assert.equal(scoped({ scopes }), 0)
    const job = app('1', '512Mi')
    const spec = { ...(job.spec as Dict), activeDeadlineSeconds: 60 }
    assert.equal(scoped({ scopes: ['Terminating'] }, { ...job, spec }), 1)
    assert.equal(scoped({ scopeSelector: { matchExpressions: [] } }), 0)
  })

  it('is compared with a pod that already has its sidecar', () => {
    const injected = applyPatch(app('1', '512Mi'), opsOf(decide(app('1', '512Mi'), namespace(), settings())))
    assert.match(counted({ 'limits.memory': '520Mi' }, {}, injected).join(), /needs 560Mi .* 512Mi without/)
  })
})

describe('the look-up of a namespace’s LimitRanges and ResourceQuotas', () => {
  const debugged: unknown[] = []
  const log = { debug: (...args: unknown[]) => debugged.push(args) }
  const reading = (answer: (path: string) => unknown) => {
    const asked: string[] = []
    let now = 0
    const get = async (path: string, query: unknown) => {
      asked.push(`${path}?limit=${(query as Dict).limit}`)
      return answer(path)
    }
    const lookUp = namespaceLimits({ get }, () => now, log)
    return { asked, lookUp, pass: (ms: number) => (now += ms) }
  }
  const RANGE = container({ max: { cpu: '1' } })

  it('reads them once for objects that are applied together, and again after some seconds', async () => {
    const { asked, lookUp, pass } = reading(() => ({ items: [RANGE] }))
    const [first] = await Promise.all([lookUp('shop'), lookUp('shop')])
    assert.deepEqual(first, { limitRanges: [RANGE], quotas: [RANGE] })
    assert.deepEqual(asked, [
      '/api/v1/namespaces/shop/limitranges?limit=50',
      '/api/v1/namespaces/shop/resourcequotas?limit=50',
    ])
    pass(4999)
    await lookUp('shop')
    assert.equal(asked.length, 2)
    pass(1)
    await lookUp('shop')
    assert.equal(asked.length, 4)
  })

  it('logs a line at debug for a kind that is forbidden, and still reads the other one', async () => {
    const { lookUp } = reading((path) => {
      if (path.endsWith('quotas')) throw new KubeError(403, 'forbidden')
      return { items: [RANGE] }
    })
    assert.deepEqual(await lookUp('shop'), { limitRanges: [RANGE], quotas: [] })
    assert.match(JSON.stringify(debugged.at(-1)), /resourcequotas.*the API server answers 403/)
  })

  it('reads nothing for an invalid name', async () => {
    const { asked, lookUp } = reading(() => ({ items: [] }))
    assert.deepEqual(await lookUp('../nodes'), NO_LIMITS)
    assert.deepEqual(asked, [])
  })

  it('bounds the objects that it reads and the namespaces that it caches', async () => {
    const { asked, lookUp } = reading(() => ({ items: Array.from({ length: 80 }, () => RANGE) }))
    assert.equal((await lookUp('shop')).limitRanges.length, 50)
    for (let index = 0; index < 256; index++) await lookUp(`n${index}`)
    const before = asked.length
    await lookUp('n255')
    assert.equal(asked.length, before)
    await lookUp('shop')
    assert.equal(asked.length, before + 2, 'the oldest entry was evicted')
  })
})

it('the gate takes the resources that are chosen for the sidecar, and both have the same minimum', () => {
  const annotation = JSON.stringify({ limits: MIN_LIMITS, requests: { cpu: '20m' } })
  const injected = applyPatch(
    pod(),
    opsOf(decide(pod({}, { [KEYS.sidecarResources]: annotation }), namespace(), settings())),
  )
  const resources = (injected.spec as { initContainers: Dict[] }).initContainers.map((one) => one.resources)
  const expected = { requests: { cpu: '20m', memory: '16Mi' }, limits: { cpu: '50m', memory: '32Mi' } }
  assert.deepEqual(resources, [expected, expected])
})
