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

/** What the mutating webhook answers to a creation, changed in places. */
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
  it('object.metadata.namespace empty: the namespace of the request counts', async () => {
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

  it('generateName, empty name: the log shows what it will be made from, and no name of ours depends on it', async () => {
    const { lines, ops } = await answered((request) => {
      const metadata = (request.object as Dict).metadata as Dict
      delete metadata.name
      metadata.generateName = 'orders-5d8c-'
    })
    assert.equal(lines.at(-1)?.object, 'orders-5d8c-*')
    assert.doesNotMatch(JSON.stringify(ops), /orders-5d8c/)
  })

  it('dryRun: the same answer, and the log says that it was one', async () => {
    const [dry, real] = [
      await answered((request) => Object.assign(request, { dryRun: true })),
      await answered(),
    ]
    assert.deepEqual(dry.response, real.response)
    assert.equal(dry.lines.at(-1)?.dryRun, true)
  })

  it('a subresource is allowed untouched', async () => {
    const { response, ops } = await answered((request) =>
      Object.assign(request, { subResource: 'ephemeralcontainers' }),
    )
    assert.deepEqual([response?.allowed, ops], [true, undefined])
  })

  for (const operation of ['UPDATE', 'DELETE', 'CONNECT'])
    it(`operation ${operation} is allowed untouched`, async () => {
      const { response, ops } = await answered((request) => Object.assign(request, { operation }))
      assert.deepEqual([response?.allowed, ops], [true, undefined])
    })

  it('what is no pod is allowed, with a line about the misconfiguration', async () => {
    const { response, lines } = await answered((request) =>
      Object.assign(request, { resource: { group: 'apps', version: 'v1', resource: 'deployments' } }),
    )
    assert.deepEqual([response?.allowed, lines.at(-1)?.reason], [true, 'not-a-pod-creation'])
  })

  it('apiVersion v1beta1 is answered 400 with a sentence', async () => {
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

  it('object null, and uid missing, are answered 400, never 200 with an empty uid', async () => {
    for (const change of [{ object: null }, { uid: '' }, { uid: undefined }]) {
      const { status, text } = await answered((request) => Object.assign(request, change))
      assert.equal(status, 400)
      assert.match(text, /^pod2iam: the AdmissionReview has no request\.(object|uid)/)
    }
  })

  it('a huge pod, of 3 MiB, is injected', async () => {
    const env = Array.from({ length: 30_000 }, (_, index) => ({ name: `V${index}`, value: 'x'.repeat(80) }))
    const large = pod({ containers: [{ name: 'app', image: 'orders', env }] })
    assert.ok(JSON.stringify(large).length > 3 * 2 ** 20)
    const { ops } = await answered((request) => Object.assign(request, { object: large }))
    assert.ok(ops && JSON.stringify(ops).length < 10_000)
  })

  it('a namespace that was labelled milliseconds ago: it is read for this review, from no cache', async () => {
    let labels: Record<string, string> = {}
    const live = async () => namespace({ labels })
    assert.equal((await answered(() => {}, live)).ops, undefined)
    labels = { [KEYS.injection]: 'enabled' }
    assert.ok((await answered(() => {}, live)).ops)
  })

  it('a ServiceAccount created milliseconds before the pod: none is looked up', async () => {
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

  it('hostNetwork with a role is refused, never skipped without a word', () =>
    assert.equal(denied(pod({ hostNetwork: true })), 'host-network'))

  it('hostUsers: false is injected as any other, and changes nothing about PodSecurity', () => {
    const labels = { [KEYS.injection]: 'enabled', 'pod-security.kubernetes.io/enforce': 'restricted' }
    const [relaxed, plain] = [
      inject(pod({ hostUsers: false }), namespace({ labels })),
      inject(pod(), namespace({ labels })),
    ]
    assert.deepEqual(added(relaxed), added(plain))
  })

  it('a Fargate pod is refused with what to use there', () =>
    assert.equal(denied(pod({}, {}, { 'eks.amazonaws.com/fargate-profile': 'x' })), 'fargate'))

  it('runAsNonRoot at pod level: the gate says for itself that it runs as root', () => {
    const gate = added(inject(pod({ securityContext: { runAsNonRoot: true, runAsUser: 1000 } })))[1]
      ?.securityContext as Dict
    assert.deepEqual([gate.runAsUser, gate.runAsGroup, gate.runAsNonRoot], [0, 0, false])
  })

  it('seccompProfile, SELinux options and groups at pod level: seccomp is said explicitly', () => {
    const securityContext = {
      seccompProfile: { type: 'Unconfined' },
      seLinuxOptions: { level: 's0' },
      supplementalGroups: [7],
    }
    for (const one of added(inject(pod({ securityContext }))))
      assert.deepEqual((one.securityContext as Dict).seccompProfile, { type: 'RuntimeDefault' })
  })

  it('dnsPolicy None: no name is ever resolved', () => {
    const text = JSON.stringify(
      added(inject(pod({ dnsPolicy: 'None', dnsConfig: { nameservers: ['192.0.2.1'] } }))),
    )
    const hosts = [...text.matchAll(/https?:\/\/(\[[^\]]+\]|[^:/"]+)/g)].map(([, host]) => host)
    assert.ok(hosts.length > 0)
    for (const host of hosts) assert.match(host ?? '', /^(?:\d+(?:\.\d+){3}|\[[0-9a-f:]+\])$/)
  })

  it('enableServiceLinks: what a Service of an unlucky name would set is set already', () => {
    const [{ env } = {}] = added(inject(pod({ enableServiceLinks: true })))
    const names = (env as { name: string }[]).map(({ name }) => name)
    for (const service of ['LISTEN', 'HEALTH']) assert.ok(names.includes(`POD2IAM_${service}_PORT`))
  })

  it('LimitRange with min and max: resources can be said by annotation, and are judged', () => {
    const resources = '{"requests":{"cpu":"50m","memory":"64Mi"},"limits":{"cpu":"100m","memory":"64Mi"}}'
    const [sidecar] = added(inject(pod({}, { [KEYS.sidecarResources]: resources })))
    assert.deepEqual(sidecar?.resources, JSON.parse(resources))
    assert.equal(
      denied(pod({}, { [KEYS.sidecarResources]: '{"limits":{"memory":"9Gi"}}' })),
      'invalid-annotation',
    )
  })
})
