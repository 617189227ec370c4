/** The corner cases of admission requests that other injectors have met, one test for each. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { webhooks } from '../../injector/admission/webhook.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { NO_LIMITS } from '../../injector/warnings/namespace-limits.ts'
import { captureLog, silentLog } from '../support/log.ts'
import {
  applyPatch,
  type Dict,
  decide,
  namespace,
  noAccounts,
  opsOf,
  pod,
  reviewOf,
  settings,
} from './fixtures.ts'

type Injected = { spec: Dict & { initContainers: Dict[] } }

/** The answer of the mutating webhook to a creation with some changed fields. */
async function answered(
  change: (request: Dict) => unknown = () => {},
  lookup: (name: string) => Promise<Namespace> = async () => namespace(),
) {
  const { log, lines } = captureLog()
  const { mutate: webhook } = webhooks({
    limits: async () => NO_LIMITS,
    accounts: noAccounts,
    settings: () => settings(),
    lookup,
    metrics: { observe() {} },
    log,
    clock: () => 0,
  })
  const review = structuredClone(reviewOf(pod())) as { request: Dict }
  change(review.request)
  const answer = await webhook(JSON.stringify(review))
  const response = answer.status === 200 ? (answer.body.response as Dict) : undefined
  const ops = response?.patch && JSON.parse(Buffer.from(String(response.patch), 'base64').toString('utf8'))
  return {
    status: answer.status,
    text: 'text' in answer ? answer.text : '',
    response,
    ops: ops as Dict[] | undefined,
    lines,
  }
}
const inject = (given: Dict, where = namespace()): Injected =>
  applyPatch(given, opsOf(decide(given, where, settings()))) as unknown as Injected
const added = ({ spec }: Injected) =>
  spec.initContainers.filter(({ name }) => String(name).startsWith('pod2iam-'))
const denied = (given: Dict) => {
  const decision = decide(given, namespace(), settings())
  return decision.kind === 'deny' ? decision.reason : assert.fail(decision.kind)
}

describe('corner cases of admission requests', () => {
  it('an empty object.metadata.namespace: the namespace of the request is used', async () => {
    const asked: string[] = []
    const { lines, ops } = await answered(
      (request) => delete ((request.object as Dict).metadata as Dict).namespace,
      async (name) => {
        asked.push(name)
        return namespace()
      },
    )
    assert.deepEqual([asked, lines.at(-1)?.namespace], [['shop'], 'shop'])
    assert.ok(ops)
  })

  it('generateName and an empty name: the log shows generateName, and no name of ours depends on it', async () => {
    const { lines, ops } = await answered((request) => {
      const metadata = (request.object as Dict).metadata as Dict
      delete metadata.name
      metadata.generateName = 'orders-5d8c-'
    })
    assert.equal(lines.at(-1)?.object, 'orders-5d8c-*')
    assert.doesNotMatch(JSON.stringify(ops), /orders-5d8c/)
  })

  it('dryRun: the answer is the same, and the log says that it was a dry run', async () => {
    const [dry, real] = [
      await answered((request) => Object.assign(request, { dryRun: true })),
      await answered(),
    ]
    assert.deepEqual(dry.response, real.response)
    assert.equal(dry.lines.at(-1)?.dryRun, true)
  })

  it('a subresource is allowed unchanged', async () => {
    const { response, ops } = await answered((request) =>
      Object.assign(request, { subResource: 'ephemeralcontainers' }),
    )
    assert.deepEqual([response?.allowed, ops], [true, undefined])
  })

  for (const operation of ['UPDATE', 'DELETE', 'CONNECT'])
    it(`operation ${operation} is allowed unchanged`, async () => {
      const { response, ops } = await answered((request) => Object.assign(request, { operation }))
      assert.deepEqual([response?.allowed, ops], [true, undefined])
    })

  it('an object that is no pod is allowed, and the log has a line about the misconfiguration', async () => {
    const { response, lines } = await answered((request) =>
      Object.assign(request, { resource: { group: 'apps', version: 'v1', resource: 'deployments' } }),
    )
    assert.deepEqual([response?.allowed, lines.at(-1)?.reason], [true, 'not-a-pod-creation'])
  })

  it('apiVersion v1beta1 is answered with 400 and a sentence', async () => {
    const { mutate: webhook } = webhooks({
      limits: async () => NO_LIMITS,
      accounts: noAccounts,
      settings: () => settings(),
      lookup: async () => namespace(),
      metrics: { observe() {} },
      log: silentLog,
      clock: () => 0,
    })
    const answer = await webhook(
      JSON.stringify({ ...reviewOf(pod()), apiVersion: 'admission.k8s.io/v1beta1' }),
    )
    assert.deepEqual(answer, {
      status: 400,
      text: 'pod2iam: the body is not an AdmissionReview of admission.k8s.io/v1\n',
    })
  })

  it('a null object or a missing uid is answered with 400, never with 200 and an empty uid', async () => {
    for (const change of [{ object: null }, { uid: '' }, { uid: undefined }]) {
      const { status, text } = await answered((request) => Object.assign(request, change))
      assert.equal(status, 400)
      assert.match(text, /^pod2iam: the AdmissionReview has no request\.(object|uid)/)
    }
  })

  it('a huge pod of 3 MiB is injected', async () => {
    const env = Array.from({ length: 30_000 }, (_, index) => ({ name: `V${index}`, value: 'x'.repeat(80) }))
    const large = pod({ containers: [{ name: 'app', image: 'orders', env }] })
    assert.ok(JSON.stringify(large).length > 3 * 2 ** 20)
    const { ops } = await answered((request) => Object.assign(request, { object: large }))
    assert.ok(ops && JSON.stringify(ops).length < 10_000)
  })

  it('a namespace that was labelled milliseconds ago: it is read for this review, not from a cache', async () => {
    let labels: Record<string, string> = {}
    const live = async () => namespace({ labels })
    assert.equal((await answered(() => {}, live)).ops, undefined)
    labels = { [KEYS.injection]: 'enabled' }
    assert.ok((await answered(() => {}, live)).ops)
  })

  it('a ServiceAccount created milliseconds before the pod: no service account is read', async () => {
    assert.ok(
      (await answered((request) => Object.assign(request, { object: pod({ serviceAccountName: 'new' }) })))
        .ops,
    )
  })

  it('mirror pods are skipped', () => {
    const decision = decide(pod({}, { 'kubernetes.io/config.mirror': 'x' }), namespace(), settings())
    assert.deepEqual([decision.kind, decision.reason], ['skip', 'mirror-pod'])
  })

  for (const [how, spec] of [
    ['spec.os', { os: { name: 'windows' } }],
    ['its node selector', { nodeSelector: { 'kubernetes.io/os': 'windows' } }],
  ] as const)
    it(`a Windows pod by ${how} is refused`, () => assert.equal(denied(pod(spec)), 'windows'))

  it('hostNetwork with a role is refused, never silently skipped', () =>
    assert.equal(denied(pod({ hostNetwork: true })), 'host-network'))

  it('a pod with hostUsers: false is injected like any other, and is treated the same under PodSecurity', () => {
    const labels = { [KEYS.injection]: 'enabled', 'pod-security.kubernetes.io/enforce': 'restricted' }
    const [relaxed, plain] = [
      inject(pod({ hostUsers: false }), namespace({ labels })),
      inject(pod(), namespace({ labels })),
    ]
    assert.deepEqual(added(relaxed), added(plain))
  })

  it('a Fargate pod is refused, with a sentence that says what to use there', () => {
    const given = pod({}, {}, { 'eks.amazonaws.com/fargate-profile': 'x' })
    assert.equal(denied(given), 'fargate')
    const decision = decide(given, namespace(), settings())
    assert.match(
      'sentence' in decision ? decision.sentence : '',
      /^Fargate runs neither .*: use an EKS pod execution role or IRSA there, and remove iam\.amazonaws\.com\/role from the pod/,
    )
  })

  it('runAsNonRoot at pod level: the gate itself sets that it runs as root', () => {
    const gate = added(inject(pod({ securityContext: { runAsNonRoot: true, runAsUser: 1000 } })))[1]
      ?.securityContext as Dict
    assert.deepEqual([gate.runAsUser, gate.runAsGroup, gate.runAsNonRoot], [0, 0, false])
  })

  it('seccompProfile, SELinux options and groups at pod level: our containers set seccomp explicitly', () => {
    const securityContext = {
      seccompProfile: { type: 'Unconfined' },
      seLinuxOptions: { level: 's0' },
      supplementalGroups: [7],
    }
    for (const one of added(inject(pod({ securityContext }))))
      assert.deepEqual((one.securityContext as Dict).seccompProfile, { type: 'RuntimeDefault' })
  })

  it('dnsPolicy None: our containers get addresses, and no name to resolve', () => {
    const text = JSON.stringify(
      added(inject(pod({ dnsPolicy: 'None', dnsConfig: { nameservers: ['192.0.2.1'] } }))),
    )
    const hosts = [...text.matchAll(/https?:\/\/(\[[^\]]+\]|[^:/"]+)/g)].map(([, host]) => host)
    assert.ok(hosts.length > 0)
    for (const host of hosts) assert.match(host ?? '', /^(?:\d+(?:\.\d+){3}|\[[0-9a-f:]+\])$/)
  })

  it('enableServiceLinks: the variables that a Service with an unlucky name would set are already set', () => {
    const [{ env } = {}] = added(inject(pod({ enableServiceLinks: true })))
    const names = (env as { name: string }[]).map(({ name }) => name)
    for (const service of ['LISTEN', 'HEALTH']) assert.ok(names.includes(`POD2IAM_${service}_PORT`))
  })

  it('LimitRange with min and max: resources can be set by annotation, and are checked', () => {
    const resources = '{"requests":{"cpu":"50m","memory":"64Mi"},"limits":{"cpu":"100m","memory":"64Mi"}}'
    const [sidecar] = added(inject(pod({}, { [KEYS.sidecarResources]: resources })))
    assert.deepEqual(sidecar?.resources, JSON.parse(resources))
    assert.equal(
      denied(pod({}, { [KEYS.sidecarResources]: '{"limits":{"memory":"9Gi"}}' })),
      'invalid-annotation',
    )
  })
})
