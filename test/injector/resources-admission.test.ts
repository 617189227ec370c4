/** Resources at an API server: pod-level resources, what a resize may change, and the warnings about the limits of a namespace. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { KEYS } from '../../common/keys.ts'
import { isApiError, type KubeObject, sinceKubernetes } from '../sandbox/kube/client/client.ts'
import { standInOnly } from '../sandbox/kube/client/test-server.ts'
import { SHOP_NAMESPACE } from './admissions.ts'
import { type Dict, ROLE } from './fixtures.ts'
import { type Replica, type Rollout, rollout } from './replicas.ts'

const POLICIES = new URL('../../charts/pod2iam/files/policies.yaml', import.meta.url)

const WHOLE_PODS = sinceKubernetes(34, 'resources of a whole pod')

type Resources = { requests: Dict; limits: Dict }
type Named = Dict & { name: string; resources: Resources }
type Pod = KubeObject & {
  spec: Dict & { initContainers: Named[]; containers: Named[]; resources?: Resources }
  status: { qosClass: string }
}

describe('resources, admitted by an API server', () => {
  let cluster: Rollout
  let replica: Replica
  before(async () => {
    cluster = await rollout([KEYS.role])
    const policies = parseAllDocuments(readFileSync(POLICIES, 'utf8'))
    if (sinceKubernetes(30, 'policies').skip === undefined)
      for (const document of policies) await cluster.api.admin.apply(document.toJS())
    await cluster.api.admin.create(SHOP_NAMESPACE as unknown as KubeObject)
    replica = await cluster.start()
    await replica.ready()
  })
  after(() => cluster?.close())

  const warnings: string[] = []
  const options = () => {
    warnings.length = 0
    return { onWarning: (text: string) => warnings.push(text) }
  }
  const create = (spec: Dict, app: Dict = {}, annotations: Dict = {}, namespace = 'shop') =>
    cluster.api.admin.create<Pod>(
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { generateName: 'orders-', namespace, annotations: { [KEYS.role]: ROLE, ...annotations } },
        spec: { containers: [{ name: 'app', image: 'orders', ...app }], ...spec },
      } as unknown as KubeObject,
      options(),
    )
  const refusal = (attempt: Promise<unknown>) =>
    attempt.then(
      () => assert.fail('it should be refused'),
      (error) => (isApiError(error) ? error.message : assert.fail(String(error))),
    )
  const list = (cpu: string, memory: string) => ({ cpu, memory })

  for (const [what, resources, app, qos] of [
    ['with limits alone', { limits: list('1', '1Gi') }, {}, 'Guaranteed'],
    [
      'with limits alone, whose request is the sum of its containers',
      { limits: list('1', '1Gi') },
      { resources: { requests: list('100m', '64Mi') } },
      'Burstable',
    ],
    [
      'with requests alone, all of them taken by its containers',
      { requests: list('1', '1Gi') },
      { resources: { requests: list('1', '1Gi') } },
      'Burstable',
    ],
    [
      'whose containers have limits as high as its own',
      { requests: list('1', '1Gi'), limits: list('1', '1Gi') },
      { resources: { limits: list('1', '1Gi') } },
      'Guaranteed',
    ],
    ['with little memory', { limits: { memory: '40Mi' } }, {}, 'Burstable'],
  ] as const)
    it(`a pod ${what} is admitted with its sidecar and stays ${qos}`, WHOLE_PODS, async () => {
      const { spec, status } = await create({ resources }, app)
      assert.deepEqual(
        spec.initContainers.map(({ name }) => name),
        ['pod2iam-sidecar', 'pod2iam-gate'],
      )
      assert.equal(status.qosClass, qos)
      for (const container of spec.initContainers)
        assert.deepEqual(
          Object.keys(container.resources.requests),
          ['cpu', 'memory'],
          'requests are explicit',
        )
    })

  it('a pod that is too small for the sidecar is refused with a sentence', WHOLE_PODS, async () => {
    assert.match(
      await refusal(create({ resources: { limits: { memory: '20Mi' } } })),
      /webhook "pods\.pod2iam\.dev" denied .*may use 20Mi of memory.*raise spec\.resources\.limits\.memory/,
    )
  })

  describe('a resize in place', sinceKubernetes(33, 'resize of pods in place'), () => {
    const resize = async (change: (pod: Pod) => void) => {
      const pod = await create({}, { resources: { limits: list('1', '1Gi') } })
      change(pod)
      const { name = '', namespace } = pod.metadata
      const body = { metadata: pod.metadata, spec: pod.spec }
      await cluster.api.admin.patch('pods', name, namespace, body, { subresource: 'resize', ...options() })
      return cluster.api.admin.get<Pod>('pods', name, namespace)
    }
    it('of the app and of the sidecar is admitted without our webhooks', async () => {
      const { spec } = await resize(({ spec: { containers, initContainers } }) => {
        for (const one of [containers[0], initContainers[0]])
          if (one) one.resources = { requests: list('300m', '96Mi'), limits: list('300m', '96Mi') }
      })
      assert.equal(spec.initContainers[0]?.resources.limits.memory, '96Mi')
      assert.equal(spec.containers[0]?.resources.limits.cpu, '300m')
      assert.deepEqual(warnings, [])
      const resizes = (await cluster.api.calls()).filter(({ subresource }) => subresource === 'resize')
      assert.deepEqual(
        resizes.flatMap(({ audit }) => Object.keys(audit).filter((key) => key.includes('pod2iam'))),
        [],
        'none of our webhooks was called',
      )
    })
    it('changes no identity, no image and no argument', async () => {
      const after = await resize((pod) => {
        pod.metadata.annotations = { ...pod.metadata.annotations, [KEYS.role]: `${ROLE}-admin` }
        for (const one of pod.spec.initContainers) Object.assign(one, { image: 'evil', args: ['x'], env: [] })
      })
      assert.equal(after.metadata.annotations?.[KEYS.role], ROLE)
      assert.doesNotMatch(JSON.stringify(after.spec), /evil|"x"/)
      assert.match(JSON.stringify(after.spec.initContainers[0]?.env), /POD2IAM_ROLE/)
    })
    it('of the gate, which Kubernetes allows from 1.36 on, changes nothing else of it', async () => {
      let before: Named | undefined
      const resources = { requests: list('1', '96Mi'), limits: list('1', '96Mi') }
      const { spec } = await resize(({ spec: { initContainers } }) => {
        before = structuredClone(initContainers[1])
        Object.assign(initContainers[1] ?? {}, { resources })
      })
      assert.deepEqual(spec.initContainers[1], { ...before, resources })
    })
  })

  describe('in a namespace with a LimitRange and a ResourceQuota,', () => {
    const bounded = async (namespace: string) => {
      await cluster.api.admin.create({
        ...SHOP_NAMESPACE,
        metadata: { ...SHOP_NAMESPACE.metadata, name: namespace },
      } as unknown as KubeObject)
      const objects = [
        { kind: 'LimitRange', spec: { limits: [{ type: 'Container', max: { cpu: '256m' } }] } },
        { kind: 'ResourceQuota', spec: { hard: { 'limits.memory': '520Mi' } } },
      ]
      for (const { kind, spec } of objects)
        await cluster.api.admin.create({
          apiVersion: 'v1',
          kind,
          metadata: { name: 'bounds', namespace },
          spec,
        } as unknown as KubeObject)
    }
    before(() => bounded('bounded'))
    const app = { resources: { limits: { memory: '512Mi' } } }

    it('a workload is applied with a warning about what will refuse its pods, which goes away if one follows the advice', async () => {
      const apply = (annotations: Dict) => {
        const template = {
          metadata: { labels: { app: 'x' }, annotations: { [KEYS.role]: ROLE, ...annotations } },
          spec: { containers: [{ name: 'app', image: 'x', ...app }] },
        }
        const spec = { replicas: 0, selector: { matchLabels: { app: 'x' } }, template }
        const deployment = {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: { name: 'x', namespace: 'bounded' },
          spec,
        }
        return cluster.api.admin.create(deployment as unknown as KubeObject, { dryRun: true, ...options() })
      }
      await apply({})
      assert.match(
        warnings[0] ?? '',
        /^pod2iam: pods of this workload will be refused: LimitRange bounds allows a container at most 256m of cpu, while pod2iam-sidecar has .*\{"limits":\{"cpu":"256m"\}\}$/,
      )
      assert.match(
        warnings[1] ?? '',
        /^pod2iam: pods of this workload will be refused: ResourceQuota bounds allows 520Mi of limits\.memory in all, and a pod needs 560Mi with pod2iam-sidecar, 512Mi without/,
      )
      await apply({ [KEYS.sidecarResources]: '{"limits":{"cpu":"256m"}}' })
      assert.equal(warnings.length, 1)
    })

    // A real API server refuses the pod, as the warning says.
    standInOnly('a pod of no controller is created with such warnings, too', async () => {
      await create({}, app, {}, 'bounded')
      assert.match(
        warnings.join('\n'),
        /^pod2iam: the pod will be refused: LimitRange bounds .*\npod2iam: the pod will be refused: ResourceQuota/,
      )
    })

    it('the namespace is opted in with a warning about what will refuse every pod', async () => {
      const patch = { metadata: { labels: { [KEYS.injection]: 'all' } } }
      await cluster.api.admin.patch('namespaces', 'bounded', undefined, patch, options())
      assert.match(warnings.join(), /^pod2iam: pods that get a sidecar will be refused: LimitRange bounds/)
    })

    standInOnly(
      'pods are admitted without a warning where the injector may not read these objects',
      async () => {
        const role = await cluster.api.admin.get<KubeObject & { rules: { resources: string[] }[] }>(
          'clusterroles',
          'pod2iam-injector',
          undefined,
        )
        const rules = role.rules.filter(({ resources }) => !resources.includes('limitranges'))
        assert.ok(rules.length < role.rules.length)
        await cluster.api.admin.patch('clusterroles', 'pod2iam-injector', undefined, { rules })
        await bounded('unread')
        await create({}, app, {}, 'unread')
        assert.deepEqual(warnings, [])
        assert.ok(!replica.log().some(({ level }) => level === 'error' || level === 'warn'))
      },
    )
  })
})
