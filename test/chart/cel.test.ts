/** The CEL that the chart ships, compiled and evaluated by the packages of the API server itself. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { CHART, needsHelm, objectsOf, type Rendered, SETS, template } from './helm.ts'
import { kubeCel, needsCel } from './kube-cel.ts'

/** A server accepts the expressions of the minor version before its own: here for Kubernetes 1.29 and, for policies, 1.30. */
const OLDEST = { webhooks: '1.28', policies: '1.29' } as const
/** `apiserver/pkg/apis/cel/config.go` */
const BUDGET = { matchConditions: 2_500_000, policy: 10_000_000 } as const
const POLICY = 'ValidatingAdmissionPolicy'

/** The rules of Prometheus are no Kubernetes object. */
const shipped: readonly Rendered[] = globSync(`${CHART}/files/**/*.yaml`)
  .filter((file) => !file.includes('/prometheus/'))
  .flatMap((file) => parseAllDocuments(readFileSync(file, 'utf8')).map((document) => document.toJS()))

const hasWebhooks = ({ kind }: Rendered) => kind.endsWith('WebhookConfiguration')
const hasCel = (object: Rendered) => object.kind === POLICY || hasWebhooks(object)

/** The errors of expressions that do not compile in the oldest Kubernetes or in that of the packages. */
function refused(objects: readonly Rendered[]): string[] {
  const policies = objects.filter(({ kind }) => kind === POLICY)
  const webhooks = objects.filter(hasWebhooks)
  return [
    ...kubeCel({ compatibility: OLDEST.webhooks, objects: webhooks }).errors,
    ...kubeCel({ compatibility: OLDEST.policies, objects: policies }).errors,
    ...kubeCel({ objects: [...policies, ...webhooks] }).errors,
  ]
}

const policy = (expression: string): Rendered => ({
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: POLICY,
  metadata: { name: 'one' },
  spec: { variables: [{ name: 'known', expression: '[1]' }], validations: [{ expression }] },
})

describe('the CEL of the chart', needsCel, () => {
  test('compiles completely in the oldest and the newest Kubernetes', () => {
    assert.deepEqual(refused(shipped), [])
    const { compiled } = kubeCel({ objects: shipped })
    const text = JSON.stringify(shipped.map(({ spec, webhooks }) => [spec, webhooks]))
    const written = text.match(/"(expression|messageExpression|valueExpression)":/g) ?? []
    assert.equal(
      Object.values(compiled).reduce((sum, count) => sum + count, 0),
      written.length,
    )
    assert.ok(written.length > 40)
  })

  test('would not compile with a wrong type, an unknown variable or field, or a newer function', () => {
    assert.deepEqual(refused([policy('variables.known == [1]')]), [])
    assert.match(refused([policy('variables.unknown == [1]')]).join(), /undefined field 'unknown'/)
    assert.match(refused([policy('variables.known')]).join(), /must evaluate to bool/)
    assert.match(refused([policy('request.user == object.x')]).join(), /undefined field 'user'/)
    const newer = policy('lists.range(2) == [0, 1]')
    assert.equal(refused([newer]).length, 1)
    assert.deepEqual(kubeCel({ objects: [newer] }).errors, [])
  })

  test('compiles as it is rendered with every set of values', needsHelm, () => {
    const rendered = SETS.flatMap((set) => objectsOf(template(set)).filter(hasCel))
    const distinct = new Map(rendered.map((object) => [JSON.stringify(object), object]))
    assert.ok(distinct.size > 6)
    assert.deepEqual(refused([...distinct.values()]), [])
  })
})

describe('the largest objects', needsCel, () => {
  const list = <T>(length: number, item: (at: number) => T): T[] =>
    Array.from({ length }, (_, at) => item(at))
  const containers = (count: number, prefix: string) =>
    list(count, (at) => ({ name: `${prefix}-${at}`, image: 'registry.example.com/x:1', volumeMounts: [] }))
  /** Close to the 256 KiB that all annotations of an object may have. */
  const annotations = Object.fromEntries(list(1000, (at) => [`example.com/${at}`, 'x'.repeat(200)]))
  const pod = {
    metadata: {
      name: 'big',
      annotations: { ...annotations, 'iam.amazonaws.com/role': 'x' },
      labels: annotations,
    },
    spec: {
      containers: containers(1000, 'app'),
      initContainers: [
        { name: 'pod2iam-gate', image: 'x' },
        { name: 'pod2iam-sidecar', image: 'x', restartPolicy: 'Always' },
        ...containers(1000, 'init'),
      ],
      ephemeralContainers: containers(1000, 'debug'),
      volumes: list(1000, (at) => ({ name: `volume-${at}` })),
    },
  }
  const lifecycle = { postStart: { exec: { command: ['/pod2iam/wait-started'] } } }
  const sidecar = { name: 'pod2iam-sidecar', image: 'x', restartPolicy: 'Always', lifecycle }
  /** A pod without a gate; of its many sidecars, which no API server would admit, only the last one has the hook. */
  const alone = {
    ...pod,
    spec: { ...pod.spec, initContainers: [...list(1000, () => ({ ...sidecar, lifecycle: {} })), sidecar] },
  }
  const keys = Object.fromEntries(list(1000, (at) => [`iam.example.com/some-name-${at}`, 'x'.repeat(200)]))
  const marked = { metadata: { name: 'big', annotations: keys, labels: keys } }
  const plain = { ...pod, metadata: { name: 'big', annotations } }
  const node = {
    metadata: { name: 'big', annotations, labels: annotations },
    spec: { taints: list(200, (at) => ({ key: `example.com/${at}`, effect: 'NoSchedule' })) },
  }
  const configurations = shipped.filter(hasWebhooks)
  const request = (kind: string, object: object, group = '') => ({
    operation: 'UPDATE',
    userInfo: { username: 'system:serviceaccount:pod2iam-system:pod2iam-injector' },
    kind: { group, version: 'v1', kind },
    object,
    oldObject: object,
  })
  const requests = [
    ...[
      'pods.pod2iam.dev',
      'pods-all.pod2iam.dev',
      'final-pods.pod2iam.dev',
      'final-pods-all.pod2iam.dev',
    ].flatMap((of) => [pod, plain].map((object) => ({ of, request: request('Pod', object) }))),
    ...[
      'identities.pod2iam.dev',
      'pod2iam-identity',
      'pod2iam-containers',
      'pod2iam-pods',
      'pod2iam-options',
    ].map((of) => ({
      of,
      request: request('Pod', pod),
    })),
    { of: 'pod2iam-pods', request: request('Pod', alone) },
    // As many keys as fit, each of which resembles ours for as long as possible.
    { of: 'bare-pod-warnings.pod2iam.dev', request: request('Pod', marked) },
    ...['service-account-lists.pod2iam.dev', 'service-account-warnings.pod2iam.dev'].map((of) => ({
      of,
      request: request('ServiceAccount', marked),
    })),
    { of: 'namespace-warnings.pod2iam.dev', request: request('Namespace', marked) },
    {
      of: 'workloads.pod2iam.dev',
      request: request('Deployment', { ...marked, kind: 'Deployment', spec: { template: marked } }, 'apps'),
    },
    { of: 'pod2iam-startup-taint', request: request('Node', node) },
    ...configurations.map((object) => ({
      of: 'pod2iam-authority',
      request: request(object.kind, object, 'admissionregistration.k8s.io'),
    })),
  ]
  for (const unstructured of [false, true])
    test(`cost at most a tenth of the evaluation budget, ${unstructured ? 'as JSON' : 'as Go types'}`, () => {
      const { verdicts } = kubeCel({ objects: shipped, requests, unstructured })
      for (const [index, { outcome, violations, matchCost, cost }] of verdicts.entries()) {
        const which = JSON.stringify({ of: requests[index]?.of, outcome, matchCost, cost })
        assert.deepEqual(violations, [], which)
        assert.notEqual(outcome, 'error', which)
        assert.ok(matchCost <= BUDGET.matchConditions / 10 && cost <= BUDGET.policy / 10, which)
      }
    })

  test('exceed the budget with an expression that is too expensive', () => {
    const each = 'object.spec.containers.all'
    const costly = policy(`${each}(a, ${each}(b, ${each}(c, a.name + b.name != c.image)))`)
    const [verdict] = kubeCel({
      objects: [costly],
      requests: [{ of: 'one', request: request('Pod', pod) }],
    }).verdicts
    assert.match(verdict?.violations[0]?.message ?? '', /cost limit exceeded|budget/)
  })
})
