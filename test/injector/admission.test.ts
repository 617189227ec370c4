/** End to end: the API server of the sandbox calls the injector as the shipped webhook configurations say. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { KEYS } from '../../common/keys.ts'
import { ApiServer, isApiError, type KubeObject } from '../sandbox/kube/client/client.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { type Dict, IMAGES, ROLE } from './fixtures.ts'

const MAIN = fileURLToPath(new URL('../../injector/main.ts', import.meta.url))
const FILES = new URL('../../charts/pod2iam/files/', import.meta.url)
const EXAMPLE = new URL('../../examples/datadog-agent.yaml', import.meta.url)
const SERVICE = 'pod2iam-injector.pod2iam-system.svc'

type Pod = KubeObject & { spec: Dict & { initContainers?: Dict[]; containers: Dict[] } }

describe('admission by an API server', () => {
  let directory: string
  let api: ApiServer
  let injector: ChildProcess
  let port: number

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2i-'))
    api = await ApiServer.start({ directory, controllers: false })
    ;[port] = [await freePort()]
    injector = await startInjector(api, directory, port)
    const allowed = { [KEYS.allowedRoles]: '["arn:aws:iam::111111111111:role/shop-*"]' }
    await Promise.all([
      namespace('shop', { [KEYS.injection]: 'enabled' }, allowed),
      namespace('jobs', { [KEYS.injection]: 'all' }, {}),
      namespace(
        'strict',
        { [KEYS.injection]: 'enabled', 'pod-security.kubernetes.io/enforce': 'restricted' },
        allowed,
      ),
      namespace('web', {}, {}),
    ])
    for (const file of ['webhooks.yaml', 'validating-webhooks.yaml']) await applyWebhooks(file)
  })
  after(async () => {
    injector?.kill('SIGKILL')
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  const namespace = (name: string, labels: Dict, annotations: Dict) =>
    api.admin.create({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels, annotations },
    } as KubeObject)

  /** Applies the shipped file with the caBundle of its own certificate, as an operator does who brings one. */
  async function applyWebhooks(file: string) {
    const configuration = parse(await readFile(new URL(file, FILES), 'utf8'))
    for (const { clientConfig } of configuration.webhooks)
      clientConfig.caBundle = Buffer.from(api.caPem).toString('base64')
    // YAML aliases are one object in memory, so the configuration is copied through JSON.
    await api.admin.apply(JSON.parse(JSON.stringify(configuration)))
  }

  const warnings: string[] = []
  const create = (
    where: string,
    annotations: Dict = { [KEYS.role]: ROLE },
    spec: Dict = {},
    extra: Dict = {},
  ) => {
    warnings.length = 0
    return api.admin.create<Pod>(
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { generateName: 'orders-', namespace: where, annotations },
        spec: { containers: [{ name: 'app', image: 'orders' }], ...spec },
        ...extra,
      } as unknown as KubeObject,
      { onWarning: (text) => warnings.push(text) },
    )
  }
  const refusal = (attempt: Promise<unknown>) =>
    attempt.then(
      () => assert.fail('it should be refused'),
      (error) => (isApiError(error) ? error.message : assert.fail(String(error))),
    )
  const initNames = ({ spec }: Pod) => (spec.initContainers ?? []).map(({ name }) => name)

  it('an annotated pod gets the sidecar and the gate before its own init containers', async () => {
    const pod = await create('shop', undefined, { initContainers: [{ name: 'migrate', image: 'orders' }] })
    assert.deepEqual(initNames(pod), ['pod2iam-sidecar', 'pod2iam-gate', 'migrate'])
    assert.equal(pod.spec.initContainers?.[0]?.restartPolicy, 'Always')
    assert.equal(pod.metadata.labels?.[KEYS.injected], 'true')
  })

  it('a pod that asks for metadata only, without a role, passes the match condition', async () => {
    const pod = await create('shop', { [KEYS.inject]: 'metadata' })
    assert.deepEqual(initNames(pod), ['pod2iam-sidecar', 'pod2iam-gate'])
  })

  for (const [what, where, annotations, injected] of [
    ['without annotation in an enabled namespace', 'shop', {}, false],
    ['without annotation in a namespace labelled all', 'jobs', {}, true],
    ['that opted out of a namespace labelled all', 'jobs', { [KEYS.inject]: 'false' }, false],
    ['that opted out but names a role', 'shop', { [KEYS.inject]: 'false', [KEYS.role]: ROLE }, false],
    ['in a namespace that did not opt in', 'web', { [KEYS.role]: ROLE }, false],
  ] as const)
    it(`a pod ${what} is ${injected ? 'injected' : 'not touched'}`, async () => {
      assert.equal(initNames(await create(where, annotations)).length > 0, injected)
    })

  for (const [where, webhook] of [
    ['shop', 'pods'],
    ['jobs', 'pods-all'],
  ] as const)
    for (const [what, spec] of [
      [
        'a forged sidecar',
        { initContainers: [{ name: 'pod2iam-sidecar', image: 'x', restartPolicy: 'Always' }] },
      ],
      ['a container of our name', { containers: [{ name: 'pod2iam-x', image: 'x' }] }],
      ['a volume of our name', { volumes: [{ name: 'pod2iam-token', emptyDir: {} }] }],
    ] as const)
      for (const annotations of [{ [KEYS.inject]: 'false', [KEYS.role]: ROLE }, {}])
        it(`${what} is refused in ${where} with ${JSON.stringify(annotations)}`, async () => {
          assert.match(
            await refusal(create(where, annotations, spec)),
            new RegExp(`webhook "${webhook}\\.pod2iam\\.dev" denied .*pod2iam-`),
          )
        })

  it('a living pod that opted out cannot opt in again', async () => {
    const { metadata } = await create('shop', { [KEYS.inject]: 'false', [KEYS.role]: ROLE })
    const back = { metadata: { annotations: { [KEYS.inject]: null } } }
    assert.match(
      await refusal(api.admin.patch('pods', metadata.name ?? '', 'shop', back)),
      /annotation pod2iam\.dev\/inject of a pod cannot be changed/,
    )
  })

  it('a pod without any annotations is created without a sidecar', async () => {
    const bare = { metadata: { generateName: 'bare-', namespace: 'shop' } }
    assert.deepEqual(initNames(await create('shop', undefined, {}, bare)), [])
  })

  it('a role that the namespace may not use is refused, with the injector’s sentence in the API server’s message', async () => {
    const message = await refusal(create('shop', { [KEYS.role]: 'arn:aws:iam::111111111111:role/admin' }))
    assert.match(
      message,
      /admission webhook "pods\.pod2iam\.dev" denied the request: pod2iam: namespace shop may not use/,
    )
  })

  it('a pod whose own credentials would win is created with a warning', async () => {
    const env = [{ name: 'AWS_ACCESS_KEY_ID', value: 'x' }]
    await create('shop', undefined, { containers: [{ name: 'app', image: 'orders', env }] })
    assert.match(warnings.join(), /container "app" sets AWS_ACCESS_KEY_ID/)
  })

  it('PodSecurity restricted admits the pod in redirect mode env', async () => {
    const securityContext = {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' },
    }
    const pod = await create('strict', undefined, {
      containers: [{ name: 'app', image: 'orders', securityContext }],
    })
    assert.deepEqual(initNames(pod), ['pod2iam-sidecar'])
    assert.deepEqual(pod.spec.containers[0]?.env, [
      { name: 'AWS_EC2_METADATA_SERVICE_ENDPOINT', value: 'http://127.0.0.1:9169/' },
    ])
  })

  it('the example is applied without a warning, and the pod of its DaemonSet gets the sidecar', async () => {
    const applied = await api.admin.applyYaml(await readFile(EXAMPLE, 'utf8'))
    assert.deepEqual(applied.warnings, [])
    const daemonSet = await api.admin.get('daemonsets', 'datadog-agent', 'datadog')
    const { metadata, spec } = (
      daemonSet as unknown as { spec: { template: { metadata: Dict; spec: Dict } } }
    ).spec.template
    const pod = await create('datadog', {}, spec, {
      metadata: { ...metadata, generateName: 'datadog-agent-', namespace: 'datadog' },
    })
    assert.deepEqual(initNames(pod), ['pod2iam-sidecar', 'pod2iam-gate'])
  })

  for (const [kind, apiVersion] of [
    ['Deployment', 'apps/v1'],
    ['StatefulSet', 'apps/v1'],
    ['DaemonSet', 'apps/v1'],
    ['Job', 'batch/v1'],
    ['CronJob', 'batch/v1'],
  ] as const) {
    const applied = async (where: string, annotations: Dict, podSpec: Dict) => {
      const received: string[] = []
      const restartPolicy = apiVersion === 'batch/v1' ? 'Never' : 'Always'
      const template = {
        metadata: { labels: { app: 'x' }, annotations },
        spec: { restartPolicy, containers: [{ name: 'app', image: 'x' }], ...podSpec },
      }
      const selector = { matchLabels: { app: 'x' } }
      const specs: Dict = {
        Deployment: { replicas: 0, selector, template },
        StatefulSet: { replicas: 0, serviceName: 'x', selector, template },
        DaemonSet: { selector, template },
        Job: { template },
        CronJob: { schedule: '0 3 * * *', jobTemplate: { spec: { template } } },
      }
      const object = { apiVersion, kind, metadata: { name: 'x', namespace: where }, spec: specs[kind] }
      const options = { dryRun: true, onWarning: (text: string) => received.push(text) }
      await api.admin.create(object as unknown as KubeObject, options)
      return received.join()
    }
    it(`a ${kind} whose pods would be refused is applied with a warning`, async () => {
      const received = await applied('shop', { [KEYS.role]: ROLE }, { hostNetwork: true })
      assert.match(received, /pods of this workload will be refused: a pod on the host network/)
    })
    it(`a ${kind} is applied with a warning in a namespace that is not opted in, and without one if nothing is wrong`, async () => {
      assert.match(
        await applied('web', { [KEYS.role]: ROLE }, {}),
        /kubectl label namespace web pod2iam\.dev/,
      )
      assert.match(await applied('web', { [KEYS.inject]: 'metadata' }, {}), /kubectl label namespace web/)
      assert.equal(await applied('shop', { [KEYS.role]: ROLE }, {}), '')
    })
  }

  it('a pod of no controller is created with the same warnings as a Deployment, in every namespace', async () => {
    await create('web')
    assert.match(warnings.join(), /is not opted in, so it gets no credentials: kubectl label namespace web/)
    for (const where of ['web', 'shop', 'jobs']) {
      await create(where, { 'iam.amazonaws.com/rol': ROLE })
      assert.deepEqual(warnings, [
        'pod2iam: annotation "iam.amazonaws.com/rol" means nothing to pod2iam: did you mean iam.amazonaws.com/role?',
      ])
    }
    await create('shop', { [KEYS.role]: ROLE, 'pod2iam.dev/redirct': 'env' })
    assert.match(warnings.join(), /did you mean pod2iam\.dev\/redirect\?/)
    await create('shop', { [KEYS.inject]: 'flase' })
    assert.match(warnings.join(), /did you mean "false"\?/)
    await create('shop')
    assert.deepEqual(warnings, [])
    await create('web', { team: 'shop', 'iam.amazonaws.com/external-id': 'partner' })
    assert.deepEqual(warnings, [])
  })

  it('a namespace with a misspelt label or annotation is created and changed with a warning', async () => {
    const received: string[] = []
    const options = { onWarning: (text: string) => received.push(text) }
    const labels = { [KEYS.injection]: 'enable' }
    await api.admin.create(
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'typo', labels } },
      options,
    )
    assert.match(received.join(), /is "enable", and only .* opt a namespace in: did you mean "enabled"\?/)
    const patch = async (metadata: Dict) => {
      received.length = 0
      await api.admin.patch('namespaces', 'typo', undefined, { metadata }, options)
      return received.join()
    }
    assert.equal(await patch({ labels: { team: 'x' } }), '')
    assert.equal(await patch({ labels: { [KEYS.injection]: 'enabled' } }), '')
    assert.match(
      await patch({ annotations: { 'iam.amazonaws.com/allowed-role': '["x"]' } }),
      /did you mean iam\.amazonaws\.com\/allowed-roles\?/,
    )
    assert.match(
      await patch({ annotations: { [KEYS.allowedRoles]: 'x' } }),
      /is not a JSON array .* nothing is allowed/,
    )
  })

  it('the audit log has the decision of each webhook', async () => {
    const { metadata } = await create('shop')
    await refusal(create('shop', { [KEYS.role]: 'arn:aws:iam::111111111111:role/admin' }))
    const audits = (await api.calls()).map(({ audit }) => audit)
    const decided = (decision: string) =>
      audits.filter((one) => one['pods.pod2iam.dev/decision'] === decision)
    assert.deepEqual(
      [
        decided('patch').at(-1)?.['pods.pod2iam.dev/role'],
        decided('patch').at(-1)?.['pods.pod2iam.dev/redirect'],
      ],
      [ROLE, 'nft'],
    )
    assert.equal(decided('deny').at(-1)?.['pods.pod2iam.dev/reason'], 'role-not-allowed')
    assert.ok(audits.some((one) => one['final-pods.pod2iam.dev/reason'] === 'already-injected'))
    assert.ok(metadata.name)
  })

  it('neither the sidecar nor the gate gets a token for the API server, and the app keeps its own', async () => {
    const pod = await create('shop')
    const paths = (one: Dict) =>
      ((one.volumeMounts ?? []) as Dict[]).map(({ name, mountPath }) => [mountPath, name])
    const API = '/var/run/secrets/kubernetes.io/serviceaccount'
    for (const one of pod.spec.initContainers ?? [])
      assert.deepEqual(
        paths(one).filter(([path]) => path === API),
        [[API, 'pod2iam-no-api']],
      )
    assert.match(JSON.stringify(paths(pod.spec.containers[0] ?? {})), /kube-api-access-/)
    const without = await create('shop', undefined, { automountServiceAccountToken: false })
    assert.doesNotMatch(JSON.stringify(without.spec), /kube-api-access-/)
  })

  it('the identity of a living pod cannot be changed, neither directly nor through its status', async () => {
    const { metadata } = await create('shop')
    const patch = (key: string, value: string, subresource?: string) =>
      api.admin.patch(
        'pods',
        metadata.name ?? '',
        'shop',
        { metadata: { annotations: { [key]: value } } },
        subresource ? { subresource } : {},
      )
    assert.match(
      await refusal(patch(KEYS.role, 'arn:aws:iam::111111111111:role/shop-x')),
      /of a pod cannot be changed/,
    )
    assert.match(await refusal(patch(KEYS.externalId, 'partner', 'status')), /of a pod cannot be changed/)
    await patch('team', 'shop')
  })

  describe('beside a webhook that strips restartPolicy', () => {
    let stripper: Server
    /** Whether it removes restartPolicy at every call, or only at the first one. */
    let always = false

    before(async () => {
      const { certPem, keyPem } = await api.issueCertificate(['localhost'], ['127.0.0.1'])
      let seen = 0
      stripper = createServer({ cert: certPem, key: keyPem }, async (request, response) => {
        const chunks: Buffer[] = []
        for await (const chunk of request) chunks.push(chunk as Buffer)
        const { request: review } = JSON.parse(Buffer.concat(chunks).toString('utf8'))
        const containers = ((review.object as Pod).spec.initContainers ?? []).map((one) => ({
          ...one,
          restartPolicy: undefined,
        }))
        const ops =
          always || seen++ === 0 ? [{ op: 'replace', path: '/spec/initContainers', value: containers }] : []
        const patch = Buffer.from(JSON.stringify(ops)).toString('base64')
        const answer = {
          uid: review.uid,
          allowed: true,
          ...(ops.length > 0 ? { patchType: 'JSONPatch', patch } : {}),
        }
        response.setHeader('Content-Type', 'application/json')
        response.end(
          JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }),
        )
      })
      await new Promise<void>((resolve) => stripper.listen(0, '127.0.0.1', resolve))
      const webhook = {
        name: 'strip.example.com',
        admissionReviewVersions: ['v1'],
        sideEffects: 'None',
        failurePolicy: 'Fail',
        reinvocationPolicy: 'IfNeeded',
        clientConfig: {
          url: `https://127.0.0.1:${(stripper.address() as AddressInfo).port}/`,
          caBundle: Buffer.from(api.caPem).toString('base64'),
        },
        rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] }],
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } },
      }
      const configuration = {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'MutatingWebhookConfiguration',
        metadata: { name: 'strip' },
        webhooks: [webhook],
      }
      await api.admin.create(configuration as unknown as KubeObject)
    })
    after(async () => {
      await api.admin.delete('mutatingwebhookconfigurations', 'strip', undefined)
      stripper.closeAllConnections()
      stripper.close()
    })

    it('once, the injector restores it when it is reinvoked', async () => {
      const pod = await create('shop')
      assert.equal(pod.spec.initContainers?.[0]?.restartPolicy, 'Always')
    })

    it('every time, the pod is refused with a sentence instead of hanging for ever', async () => {
      always = true
      assert.match(
        await refusal(create('shop')),
        /webhook "final-pods\.pod2iam\.dev" denied .*is not as the injector leaves it \(restartPolicy\)/,
      )
      always = false
    })
  })

  it('while the injector is unreachable, only pods that ask for credentials are refused', async () => {
    injector.kill('SIGKILL')
    await until(() => injector.signalCode !== null)
    const message = await refusal(create('shop'))
    assert.match(message, /failed calling webhook "pods\.pod2iam\.dev"/)
    assert.deepEqual(initNames(await create('shop', { [KEYS.inject]: 'false' })), [])
    assert.deepEqual(initNames(await create('web')), [])
    assert.deepEqual(initNames(await create('shop', {})), [])
    // A webhook that only warns blocks nothing.
    await create('web', { 'iam.amazonaws.com/rol': ROLE })
    await namespace('unwarned', { [KEYS.injection]: 'enable' }, { [KEYS.allowedRoles]: 'x' })
    assert.deepEqual(warnings, [])
  })
})

async function startInjector(api: ApiServer, directory: string, port: number): Promise<ChildProcess> {
  const admin = api.admin
  const meta = (name: string, namespace?: string) => ({ name, ...(namespace ? { namespace } : {}) })
  const place = 'pod2iam-system'
  await admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: meta(place) })
  const objects = [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: meta('pod2iam-injector', place),
      spec: { ports: [{ port: 443, targetPort: port }] },
    },
    {
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: meta('pod2iam-injector', place),
      subsets: [{ addresses: [{ ip: '127.0.0.1' }], ports: [{ port }] }],
    },
  ]
  for (const object of objects) await admin.create(object as unknown as KubeObject)
  const { certPem, keyPem } = await api.issueCertificate([SERVICE])
  const [cert, key] = [join(directory, 'tls.crt'), join(directory, 'tls.key')]
  await Promise.all([writeFile(cert, certPem), writeFile(key, keyPem)])
  const healthPort = await freePort()
  const argv = [
    ...[
      MAIN,
      ...IMAGES,
      `--kubeconfig=${await api.kubeconfig()}`,
      `--tls-cert-file=${cert}`,
      `--tls-key-file=${key}`,
    ],
    ...[`--port=${port}`, `--health-port=${healthPort}`, '--log-level=warn'],
  ]
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'inherit'], env: {} })
  const isReady = () =>
    fetch(`http://127.0.0.1:${healthPort}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    )
  await until(isReady).catch((error) => {
    child.kill('SIGKILL')
    throw error
  })
  return child
}
