/** The shipped ValidatingAdmissionPolicies, in force at an API server without any webhook. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { parse, parseAllDocuments } from 'yaml'
import { KEYS } from '../../common/keys.ts'
import { assertSameVerdicts, type Conditions, needsCel } from '../chart/kube-cel.ts'
import { policiesInForce } from '../sandbox/kube/admission/test-policies.ts'
import {
  ApiServer,
  isApiError,
  isStandIn,
  type KubeClient,
  type KubeObject,
} from '../sandbox/kube/client/client.ts'
import { standInOnly } from '../sandbox/kube/client/test-server.ts'
import { until } from '../support/until.ts'
import { applyPatch, type Dict, decide, namespace, opsOf, pod, ROLE, settings } from './fixtures.ts'

const FILES = new URL('../../charts/pod2iam/files/', import.meta.url)
const FROZEN = [KEYS.role, KEYS.externalId, KEYS.sessionName, KEYS.sessionPolicyArns, KEYS.inject]

/** The answer of an API server if the policies allow somebody to enter a container that runs nowhere. */
const ADMITTED = isStandIn()
  ? /^admitted, but the sandbox connects by WebSocket alone/
  : /does not have a host assigned$/

describe('the admission policies', () => {
  let directory: string
  let api: ApiServer

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2i-'))
    api = await ApiServer.start({ directory, controllers: false })
    for (const [name, mode] of [
      ['shop', 'enabled'],
      ['jobs', 'all'],
      ['web', undefined],
    ] as const)
      await api.admin.create({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name, labels: mode === undefined ? {} : { [KEYS.injection]: mode } },
      })
    for (const file of ['policies.yaml', 'startup-taint/policy.yaml', 'authority/policy.yaml'])
      for (const document of parseAllDocuments(readFileSync(new URL(file, FILES), 'utf8')))
        await api.admin.apply(document.toJS())
    await policiesInForce(api)
  })
  after(async () => {
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  const injected = (object: Dict = pod()): Dict =>
    applyPatch(object, opsOf(decide(object, namespace(), settings())))
  let count = 0
  const create = async (object: Dict, where = 'shop'): Promise<string> => {
    const name = `pod-${++count}`
    const metadata = { ...(object.metadata as Dict), name, namespace: where }
    await api.admin.create({ ...object, metadata } as unknown as KubeObject)
    return name
  }
  const refusal = (attempt: Promise<unknown>) =>
    attempt.then(
      () => assert.fail('it should be refused'),
      (error) => (isApiError(error) ? error.message : assert.fail(String(error))),
    )
  const annotate = (name: string, key: string, value: string | null, subresource?: string, where = 'shop') =>
    api.admin.patch(
      'pods',
      name,
      where,
      { metadata: { annotations: { [key]: value } } },
      subresource ? { subresource } : {},
    )

  describe('forbid changes of the identity of a living pod:', () => {
    for (const key of FROZEN)
      for (const subresource of [undefined, 'status'])
        it(`${key} through ${subresource ?? 'the pod'}`, async () => {
          const name = await create(injected())
          const message = await refusal(annotate(name, key, 'other', subresource))
          assert.match(
            message,
            /is forbidden: ValidatingAdmissionPolicy 'pod2iam-identity' .* denied request: pod2iam: annotation /,
          )
          assert.ok(message.includes(`annotation ${key} of a pod cannot be changed`), message)
        })
    it('an annotation can neither be removed nor added with an empty value', async () => {
      const name = await create(injected())
      assert.match(await refusal(annotate(name, KEYS.role, null)), /cannot be changed/)
      assert.match(await refusal(annotate(name, KEYS.externalId, '')), /cannot be changed/)
    })
    for (const key of FROZEN)
      for (const way of ['binding', 'bindings'] as const)
        it(`${key} through ${way === 'binding' ? 'pods/binding' : 'bindings'}`, async () => {
          const name = await create(injected())
          const body = {
            apiVersion: 'v1',
            kind: 'Binding',
            metadata: { name, namespace: 'shop', annotations: { [key]: 'other' } },
            target: { apiVersion: 'v1', kind: 'Node', name: 'node-1' },
          }
          const path = `/api/v1/namespaces/shop/${way === 'bindings' ? way : `pods/${name}/binding`}`
          assert.match(await refusal(api.admin.post(path, body)), /cannot be changed/)
          const pretending = { ...body.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' }
          assert.match(
            await refusal(api.admin.post(path, { ...body, metadata: pretending })),
            /cannot be changed/,
          )
          const plain = { ...body, metadata: { name, namespace: 'shop', annotations: { team: 'shop' } } }
          await api.admin.post(path, plain)
        })
    it('other annotations, the status, terminating pods and other namespaces can be changed', async () => {
      const name = await create(injected())
      await annotate(name, 'team', 'shop')
      await api.admin.patch('pods', name, 'shop', { status: { phase: 'Running' } }, { subresource: 'status' })
      const bare = await create(pod({}, { [KEYS.role]: undefined }))
      await annotate(bare, 'team', 'shop')
      await annotate(await create(pod(), 'web'), KEYS.role, 'other', undefined, 'web')
      await api.admin.patch('pods', name, 'shop', { metadata: { finalizers: ['example.com/stay'] } })
      await api.admin.delete('pods', name, 'shop', { gracePeriodSeconds: 0 })
      await annotate(name, KEYS.role, null)
      await api.admin.patch('pods', name, 'shop', { metadata: { finalizers: null } })
    })
  })

  describe('protect the metadata that the injector wrote:', () => {
    const label = (name: string, value: string | null, subresource?: string) =>
      api.admin.patch(
        'pods',
        name,
        'shop',
        { metadata: { labels: { [KEYS.injected]: value } } },
        subresource ? { subresource } : {},
      )
    const frozen = /label pod2iam\.dev\/injected says whether .*: it cannot be changed on a living pod/
    for (const subresource of [undefined, 'status'])
      it(`the label of an injected pod can be neither changed nor removed through ${subresource ?? 'the pod'}`, async () => {
        const name = await create(injected())
        for (const value of [null, 'false'])
          assert.match(await refusal(label(name, value, subresource)), frozen)
        await label(name, 'true', subresource)
      })
    it('the label cannot be added to a pod without a sidecar, not even by a binding', async () => {
      const bare = await create(pod({}, { [KEYS.role]: undefined }))
      assert.match(await refusal(label(bare, 'true')), frozen)
      const binding = {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name: bare, namespace: 'shop', labels: { [KEYS.injected]: 'true' } },
        target: { apiVersion: 'v1', kind: 'Node', name: 'node-1' },
      }
      assert.match(
        await refusal(api.admin.post(`/api/v1/namespaces/shop/pods/${bare}/binding`, binding)),
        frozen,
      )
    })
    it('an injected pod without the label can be updated, and the label can be restored', async () => {
      const object = injected() as { metadata: { labels?: Dict } } & Dict
      delete object.metadata.labels
      const name = await create(object)
      await api.admin.patch('pods', name, 'shop', { status: { phase: 'Running' } }, { subresource: 'status' })
      await label(name, 'true')
      assert.match(await refusal(label(name, null)), frozen)
    })
    it('the status annotation can be neither changed nor removed', async () => {
      const name = await create(injected())
      for (const value of [null, '{}'])
        assert.match(
          await refusal(annotate(name, KEYS.status, value)),
          /annotation pod2iam\.dev\/status says .* cannot be changed on a living pod/,
        )
    })
  })

  describe('warn about', () => {
    for (const [key, value] of [
      [KEYS.redirect, 'env'],
      [KEYS.imdsTokens, 'required'],
      [KEYS.startupGate, 'off'],
      [KEYS.sidecarResources, '{}'],
      [KEYS.logLevel, 'debug'],
    ] as const)
      it(`${key} on a running pod, where it has no effect`, async () => {
        const name = await create(injected())
        const received: string[] = []
        const options = { onWarning: (text: string) => received.push(text) }
        const patch = (annotations: Dict) =>
          api.admin.patch('pods', name, 'shop', { metadata: { annotations } }, options)
        await patch({ [key]: value })
        assert.equal(received.length, 1)
        assert.ok(received[0]?.includes(`annotation ${key} has no effect on a running pod`), received[0])
        await patch({ team: 'shop' })
        assert.equal(received.length, 1)
      })
  })

  describe('close the gate container', () => {
    for (const subresource of ['exec', 'attach'])
      it(`to ${subresource}, and no other container`, async () => {
        const name = await create(injected())
        const enter = (container?: string) =>
          refusal(
            api.admin.post(
              `/api/v1/namespaces/shop/pods/${name}/${subresource}${container === undefined ? '' : `?container=${container}`}`,
            ),
          )
        assert.match(await enter('pod2iam-gate'), /nobody may enter pod2iam-gate/)
        for (const container of ['app', 'pod2iam-sidecar', undefined])
          assert.match(await enter(container), ADMITTED)
      })
  })

  describe('protect the containers of a living pod:', () => {
    it('the images of our containers cannot be changed, that of the app can', async () => {
      const name = await create(injected())
      const image = (field: string, container: string) =>
        api.admin.patch(
          'pods',
          name,
          'shop',
          { spec: { [field]: [{ name: container, image: 'evil' }] } },
          { type: 'strategic' },
        )
      for (const ours of ['pod2iam-sidecar', 'pod2iam-gate'])
        assert.match(
          await refusal(image('initContainers', ours)),
          /images of pod2iam-\* containers cannot be changed/,
        )
      await image('containers', 'app')
    })
    const debug = (name: string, container: Dict) =>
      api.admin.patch(
        'pods',
        name,
        'shop',
        { spec: { ephemeralContainers: [{ image: 'busybox', ...container }] } },
        { subresource: 'ephemeralcontainers' },
      )
    for (const [what, container, expected] of [
      ['with a reserved name', { name: 'pod2iam-debug' }, /names that begin with pod2iam- are reserved/],
      [
        'in the processes of the gate',
        { name: 'debug', targetContainerName: 'pod2iam-gate' },
        /nobody may enter pod2iam-gate/,
      ],
      [
        'that mounts the token',
        { name: 'debug', volumeMounts: [{ name: 'pod2iam-token', mountPath: '/t' }] },
        /volumes pod2iam-\* are the injector's/,
      ],
    ] as const)
      it(`an ephemeral container ${what} is refused`, async () => {
        assert.match(await refusal(debug(await create(injected()), container)), expected)
      })
    it('an ephemeral container for the app or for the sidecar is allowed', async () => {
      await debug(await create(injected()), { name: 'debug' })
      await debug(await create(injected()), { name: 'debug', targetContainerName: 'pod2iam-sidecar' })
    })
  })

  describe('refuse a pod', () => {
    const rows: readonly [what: string, object: () => Dict, expected: RegExp][] = [
      ['that asks for a role and has no sidecar', () => pod(), /has no pod2iam-sidecar/],
      [
        'that asks for metadata only and has no sidecar',
        () => pod({}, { [KEYS.role]: undefined, [KEYS.inject]: 'metadata' }),
        /has no pod2iam-sidecar/,
      ],
      [
        'whose sidecar lost its restartPolicy',
        () => without('restartPolicy', 'pod2iam-sidecar'),
        /has no pod2iam-sidecar/,
      ],
      ['that lost its gate', () => without(undefined, 'pod2iam-gate'), /has no pod2iam-sidecar/],
      [
        'with neither a gate nor a start hook',
        () => oneStage((sidecar) => delete sidecar.lifecycle),
        /has no pod2iam-sidecar with restartPolicy Always and its gate or start hook/,
      ],
      [
        'with another start hook',
        () =>
          oneStage((sidecar) => {
            sidecar.lifecycle = { postStart: { exec: { command: ['/pod2iam/wait-started', 'x'] } } }
          }),
        /has no pod2iam-sidecar/,
      ],
      [
        'with a start hook that runs no program',
        () =>
          oneStage((sidecar) => {
            sidecar.lifecycle = { postStart: { sleep: { seconds: 1 } } }
          }),
        /has no pod2iam-sidecar/,
      ],
      [
        'without a gate in the IPC namespace of its host',
        () => oneStage((_, spec) => (spec.hostIPC = true)),
        /has no pod2iam-sidecar/,
      ],
      [
        'on the host network',
        () => pod({ hostNetwork: true }),
        /on the host network .* remove iam\.amazonaws\.com\/role/,
      ],
      ['for Windows', () => pod({ os: { name: 'windows' } }), /Windows/],
      ['for Windows by selector', () => pod({ nodeSelector: { 'kubernetes.io/os': 'windows' } }), /Windows/],
      ['for Fargate', () => pod({}, {}, { 'eks.amazonaws.com/fargate-profile': 'x' }), /Fargate/],
      ['for Fargate by scheduler', () => pod({ schedulerName: 'fargate-scheduler' }), /Fargate/],
      ['with inject: yes', () => pod({}, { [KEYS.inject]: 'yes' }), /inject must be/],
      ['with an unknown redirect', () => pod({}, { [KEYS.redirect]: 'x' }), /redirect must be/],
      [
        'with an unknown choice of container credentials',
        () => pod({}, { [KEYS.containerCredentials]: 'yes' }),
        /container-credentials must be/,
      ],
      ['with unknown IMDS tokens', () => pod({}, { [KEYS.imdsTokens]: 'x' }), /imds-tokens must be/],
      ['with an unknown startup gate', () => pod({}, { [KEYS.startupGate]: 'x' }), /startup-gate must be/],
      [
        'with a container of a reserved name',
        () => pod({ containers: [{ name: 'pod2iam-x', image: 'x' }] }),
        /reserved/,
      ],
    ]
    const oneStage = (change: (sidecar: Dict, spec: Dict) => unknown): Dict => {
      const object = injected(pod({}, { [KEYS.redirect]: 'env' })) as unknown as {
        spec: { initContainers: Dict[] } & Dict
      } & Dict
      assert.deepEqual(object.spec.initContainers.length, 1)
      change(object.spec.initContainers[0] ?? {}, object.spec)
      return object
    }
    const without = (field: string | undefined, container: string): Dict => {
      const object = injected() as { spec: { initContainers: Dict[] } } & Dict
      const at = object.spec.initContainers.findIndex(({ name }) => name === container)
      if (field === undefined) object.spec.initContainers.splice(at, 1)
      else delete object.spec.initContainers[at]?.[field]
      return object
    }
    for (const [what, object, expected] of rows)
      for (const where of ['shop', 'jobs'])
        it(`${what}, in ${where}`, async () => assert.match(await refusal(create(object(), where)), expected))

    const MIRROR = { 'kubernetes.io/config.mirror': 'x' }
    const ON_A_NODE = { nodeName: 'node-of-a-kubelet' }
    /** A correctly injected pod with annotations because of which the injector would have left it alone. */
    const forged = (annotations: Dict, spec: Dict = {}): Dict => {
      const { metadata, spec: whole } = injected() as Record<string, Dict>
      const own = { ...(metadata?.annotations as Dict), ...annotations }
      return {
        ...pod(),
        metadata: { ...metadata, annotations: JSON.parse(JSON.stringify(own)) },
        // A mirror pod has a node.
        spec: { ...whole, ...(Object.keys(MIRROR).some((key) => key in annotations) && ON_A_NODE), ...spec },
      }
    }
    const OPTED_OUT = { [KEYS.inject]: 'false' }
    const UNASKED = { [KEYS.role]: undefined }
    // A real API server refuses tokens in mirror pods before it asks any policy.
    const reserved = /names that begin with pod2iam- are reserved|a mirror pod may not/
    for (const where of ['shop', 'jobs'])
      for (const [what, annotations] of [
        ['it opted out', OPTED_OUT],
        ['it opted out without a role', { ...OPTED_OUT, ...UNASKED }],
        ['it is a mirror pod', MIRROR],
        ['it is a mirror pod without a role', { ...MIRROR, ...UNASKED }],
      ] as const) {
        const refuses = async (object: Dict) => assert.match(await refusal(create(object, where)), reserved)
        it(`with a sidecar, gate and volumes, although ${what}, in ${where}`, () =>
          refuses(forged(annotations)))
        it(`with a forged sidecar, although ${what}, in ${where}`, () =>
          refuses(
            forged(annotations, {
              volumes: [],
              initContainers: [{ name: 'pod2iam-sidecar', image: 'x', restartPolicy: 'Always' }],
            }),
          ))
        it(`with a volume of a reserved name, although ${what}, in ${where}`, () =>
          refuses(
            forged(annotations, { initContainers: [], volumes: [{ name: 'pod2iam-token', emptyDir: {} }] }),
          ))
        it(`with a container of a reserved name, although ${what}, in ${where}`, () =>
          refuses(
            forged(annotations, {
              ...{ volumes: [], initContainers: [] },
              containers: [{ name: 'pod2iam-sidecar', image: 'x' }],
            }),
          ))
      }
    for (const value of ['False', 'FALSE', '', '0', ' false'])
      it(`with a sidecar and inject: ${JSON.stringify(value)}`, async () => {
        for (const where of ['shop', 'jobs'])
          for (const role of [{}, UNASKED])
            assert.match(
              await refusal(create(forged({ [KEYS.inject]: value, ...role }), where)),
              /inject must be/,
            )
      })
    it('with a sidecar where the injector adds none: without an annotation, or on the host network', async () => {
      assert.match(await refusal(create(forged(UNASKED))), reserved)
      assert.match(await refusal(create(forged(UNASKED, { hostNetwork: true }), 'jobs')), reserved)
    })
    it('but not one that was injected without a role: where the label is all, or for metadata only', async () => {
      const unasked = pod({}, UNASKED)
      await create(
        applyPatch(
          unasked,
          opsOf(decide(unasked, namespace({ labels: { [KEYS.injection]: 'all' } }), settings())),
        ),
        'jobs',
      )
      for (const where of ['shop', 'jobs'])
        await create(injected(pod({}, { ...UNASKED, [KEYS.inject]: 'metadata' })), where)
    })

    it('but no other pod', async () => {
      await create(injected())
      await create(oneStage(() => {}))
      await create(
        oneStage((sidecar) => (sidecar.lifecycle = { ...(sidecar.lifecycle as Dict), preStop: null })),
      )
      await create(injected(pod({ hostIPC: true }, { [KEYS.redirect]: 'env' })))
      await create(pod({}, { [KEYS.role]: undefined }))
      await create(pod({}, { [KEYS.role]: undefined }), 'jobs')
      await create(pod({ hostNetwork: true }, { [KEYS.role]: undefined }), 'jobs')
      await create(pod({}, { [KEYS.inject]: 'false' }))
      await create(pod({ hostNetwork: true }, { [KEYS.inject]: 'false' }))
      await create(pod({ hostNetwork: true }), 'web')
      await create({ ...pod(), metadata: {} })
    })

    it('on the host network, unless the one setting for it in the policy is replaced by warn', async () => {
      const text = readFileSync(new URL('policies.yaml', FILES), 'utf8')
      assert.equal(text.split(`expression: "'deny'"`).length, 2)
      const warning = parseAllDocuments(text.replace(`expression: "'deny'"`, `expression: "'warn'"`)).map(
        (one) => one.toJS(),
      )
      const policy = warning.find(({ metadata }) => metadata.name === 'pod2iam-pods')
      await api.admin.apply(policy)
      await policiesInForce(api)
      await create(pod({ hostNetwork: true }))
    })
  })

  it('contain the role key in one form only, so that another key can be configured', () => {
    const text = readFileSync(new URL('policies.yaml', FILES), 'utf8')
    assert.deepEqual([...new Set(text.match(/[a-z.]+\/role\b/g))], [KEYS.role])
    assert.ok(ROLE)
  })

  describe('limit the injector, whatever RBAC allows,', () => {
    const OURS = { key: 'pod2iam.dev/guard-not-ready', effect: 'NoSchedule' }
    const OTHER = { key: 'example.com/x', effect: 'NoSchedule' }
    const CONFIGURATIONS = [
      ['mutatingwebhookconfigurations', 'webhooks.yaml'],
      ['validatingwebhookconfigurations', 'validating-webhooks.yaml'],
    ] as const
    const NAME = 'pod2iam-injector'
    let injector: KubeClient
    before(async () => {
      const rbac = 'rbac.authorization.k8s.io'
      const meta = { name: NAME }
      const place = 'pod2iam-system'
      const anything = { apiGroups: ['*'], resources: ['*'], verbs: ['*'] }
      for (const object of [
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: place } },
        { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { ...meta, namespace: place } },
        { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: meta, rules: [anything] },
        {
          apiVersion: `${rbac}/v1`,
          kind: 'ClusterRoleBinding',
          metadata: meta,
          roleRef: { apiGroup: rbac, kind: 'ClusterRole', ...meta },
          subjects: [{ kind: 'ServiceAccount', ...meta, namespace: place }],
        },
        {
          apiVersion: 'v1',
          kind: 'Node',
          metadata: { name: 'node-1', labels: { zone: 'a' } },
          spec: { taints: [OURS, OTHER], providerID: 'aws:///a/i-1' },
        },
      ])
        await api.admin.create(object as unknown as KubeObject)
      for (const [, file] of CONFIGURATIONS)
        await api.admin.apply(
          JSON.parse(JSON.stringify(parse(readFileSync(new URL(file, FILES), 'utf8')))) as KubeObject,
        )
      const { token } = await api.admin.createToken(place, meta.name)
      injector = api.client(token)
    })

    describe('to the startup taint:', () => {
      const change = (body: Dict) => injector.patch('nodes', 'node-1', undefined, body)
      const owner = { apiVersion: 'v1', kind: 'Pod', name: 'x', uid: 'x' }
      it('it can change nothing else of a node', async () => {
        for (const body of [
          { spec: { taints: [] } },
          { spec: { taints: [OURS] } },
          { spec: { taints: [OURS, OTHER, { key: 'x', effect: 'NoExecute' }] } },
          { spec: { unschedulable: true } },
          { spec: { podCIDRs: ['10.1.0.0/24'], podCIDR: '10.1.0.0/24' } },
          { metadata: { labels: { a: 'b' } } },
          { metadata: { labels: null } },
          { metadata: { annotations: { a: 'b' } } },
          { metadata: { finalizers: ['example.com/stay'] } },
          { metadata: { ownerReferences: [owner] } },
        ])
          assert.match(
            await refusal(change(body)),
            /may only remove the startup taint .* and must not change anything else/,
            JSON.stringify(body),
          )
        assert.match(await refusal(injector.delete('nodes', 'node-1')), /must not change anything else/)
        const status = { status: { conditions: [] } }
        const patched = injector.patch('nodes', 'node-1', undefined, status, { subresource: 'status' })
        assert.match(await refusal(patched), /must not change anything else/)
      })
      it('it can remove that taint', async () => {
        // A real control plane adds its own taints at any time, so the change must apply to the node as it was read.
        await until('the node as it was read', async () => {
          const { metadata, spec } = JSON.parse(JSON.stringify(await api.admin.get('nodes', 'node-1')))
          const taints = spec.taints.filter(({ key }: Dict) => key !== OURS.key)
          const { resourceVersion } = metadata
          return change({ metadata: { resourceVersion }, spec: { taints } }).catch((error: unknown) => {
            if (isApiError(error, 409)) return false
            throw error
          })
        })
      })
      it('other users are not limited', async () => {
        await api.admin.patch('nodes', 'node-1', undefined, { spec: { taints: [], unschedulable: true } })
      })
    })

    for (const [plural, file] of CONFIGURATIONS)
      describe(`to the caBundle of its ${plural}:`, () => {
        type Entry = { name: string; clientConfig: Dict } & Dict
        type Configuration = { metadata: Dict; webhooks: Entry[] } & Dict
        const current = async () =>
          JSON.parse(JSON.stringify(await api.admin.get(plural, NAME))) as Configuration
        const send = async (change: (one: Configuration, first: Entry) => void) => {
          const one = await current()
          const [first = assert.fail(`${file} has no entries`)] = one.webhooks
          change(one, first)
          // In a merge patch, null removes what is no longer there.
          const metadata = { labels: null, annotations: null, finalizers: null, ...one.metadata }
          return injector.patch(plural, NAME, undefined, { ...one, metadata })
        }
        const rows: readonly [what: string, change: (one: Configuration, first: Entry) => void][] = [
          ['a label', ({ metadata }) => (metadata.labels = { a: 'b' })],
          ['no labels', ({ metadata }) => (metadata.labels = null)],
          ['an annotation', ({ metadata }) => (metadata.annotations = { a: 'b' })],
          ['a finalizer', ({ metadata }) => (metadata.finalizers = ['example.com/stay'])],
          ['no entries', (one) => (one.webhooks = [])],
          ['one entry less', ({ webhooks }) => webhooks.pop()],
          ['one entry more', ({ webhooks }, first) => webhooks.push({ ...first, name: 'x.pod2iam.dev' })],
          ['another order', ({ webhooks }) => webhooks.reverse()],
          ['another name', (_, first) => (first.name = 'x.pod2iam.dev')],
          ['another service', (_, { clientConfig }) => ((clientConfig.service as Dict).name = 'evil')],
          ['another path', (_, { clientConfig }) => ((clientConfig.service as Dict).path = '/x')],
          ['a URL', (_, first) => (first.clientConfig = { url: 'https://evil.example' })],
          ['Secrets for rules', (_, { rules }) => ((rules as Dict[])[0] = secrets)],
          ['one more rule', (_, { rules }) => (rules as Dict[]).push(secrets)],
          ['no matchConditions', (_, first) => delete first.matchConditions],
          ['every namespace', (_, first) => delete first.namespaceSelector],
          ['an object selector', (_, first) => (first.objectSelector = { matchLabels: { a: 'b' } })],
          ['failurePolicy', (_, first) => (first.failurePolicy = 'Ignore')],
          ['matchPolicy', (_, first) => (first.matchPolicy = 'Exact')],
          ['timeoutSeconds', (_, first) => (first.timeoutSeconds = 30)],
          ['sideEffects', (_, first) => (first.sideEffects = 'NoneOnDryRun')],
          ['versions', (_, first) => (first.admissionReviewVersions = ['v1', 'v1beta1'])],
        ]
        const secrets = {
          operations: ['CREATE'],
          apiGroups: [''],
          apiVersions: ['v1'],
          resources: ['secrets'],
          scope: '*',
        }
        const only = /may write the caBundle of its webhook configurations, and change nothing else/
        for (const [what, change] of rows)
          it(`it cannot write ${what}`, async () => assert.match(await refusal(send(change)), only))
        it('it can neither delete the configuration nor create another one', async () => {
          assert.match(await refusal(injector.delete(plural, NAME)), only)
          const { apiVersion, kind, webhooks } = await current()
          const other = { apiVersion, kind, webhooks, metadata: { name: 'other' } }
          assert.match(await refusal(injector.create(other as unknown as KubeObject)), only)
        })
        it('it can write, change and remove bundles', async () => {
          const entries = async () =>
            (await current()).webhooks.map(({ clientConfig }) => clientConfig.caBundle)
          for (const caBundle of ['QQ==', 'Qg==']) {
            await send(({ webhooks }) => {
              for (const { clientConfig } of webhooks) clientConfig.caBundle = caBundle
            })
            assert.deepEqual([...new Set(await entries())], [caBundle])
          }
          await send((_, { clientConfig }) => delete clientConfig.caBundle)
          assert.equal((await entries())[0], undefined)
        })
        it('other users are not limited', async () => {
          await api.admin.patch(plural, NAME, undefined, { metadata: { labels: { team: 'platform' } } })
        })
      })
  })

  standInOnly('give the same results with the CEL of the API server itself', needsCel, async () => {
    const judged = await api.judged()
    assert.ok(judged.length > 100, `${judged.length}`)
    const { webhooks } = parse(readFileSync(new URL('validating-webhooks.yaml', FILES), 'utf8'))
    const touched: Conditions = webhooks.find(({ name }: Conditions) => name === 'identities.pod2iam.dev')
    assertSameVerdicts(
      judged.flatMap(({ policy, ...asked }) => [
        { judge: policy, ...asked },
        ...(policy.metadata.name === 'pod2iam-identity' ? [{ judge: touched, ...asked }] : []),
      ]),
    )
  })
})
