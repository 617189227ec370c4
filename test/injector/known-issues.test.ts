/**
 * The twenty issues that users of other injectors report most, as far as an injector decides them, with their numbers in that
 * list. test/firewall tests with the kernel what the gate and the firewall do about 11 to 13.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { KEYS } from '../../common/keys.ts'
import { LIFETIMES } from '../../injector/certificates/rotation.ts'
import { coalesced } from '../../injector/kubernetes/lookups.ts'
import {
  applyPatch,
  type Dict,
  decide,
  namespace,
  opsOf,
  pod,
  settings,
  withApiServerDefaults,
} from './fixtures.ts'

const file = (name: string) =>
  readFileSync(new URL(`../../charts/pod2iam/files/${name}`, import.meta.url), 'utf8')
type Entry = { namespaceSelector: { matchExpressions: Dict[] }; matchConditions: unknown[] } & Dict
const mutating = parse(file('webhooks.yaml')).webhooks as Entry[]
const validating = parse(file('validating-webhooks.yaml')).webhooks as Entry[]

type Injected = { spec: { initContainers: Dict[]; containers: Dict[]; volumes: Dict[] } & Dict }
const inject = (given: Dict, where = namespace()): Injected =>
  applyPatch(given, opsOf(decide(given, where, settings()))) as unknown as Injected
const names = ({ spec }: Injected) => spec.initContainers.map(({ name }) => name)
const added = ({ spec }: Injected) =>
  spec.initContainers.filter(({ name }) => String(name).startsWith('pod2iam-'))

describe('issues of other injectors', () => {
  it('1: an unreachable injector blocks only pods that ask in opted-in namespaces', () => {
    for (const entry of [...mutating, ...validating].filter(
      ({ failurePolicy }) => failurePolicy === 'Fail',
    )) {
      const [selector] = entry.namespaceSelector.matchExpressions
      assert.equal(selector?.key, KEYS.injection, String(entry.name))
      assert.equal(selector?.operator, 'In')
      assert.ok(entry.matchConditions.length > 0)
    }
  })

  it('2: the injector leaves its own pods alone, whose namespace is not opted in', () => {
    const own = namespace({
      name: 'pod2iam-system',
      labels: { 'kubernetes.io/metadata.name': 'pod2iam-system' },
    })
    const decision = decide(pod({}, { [KEYS.role]: undefined }), own, settings())
    assert.deepEqual([decision.kind, decision.reason], ['skip', 'namespace-not-enabled'])
  })

  it('3: no pod that asks goes without a sidecar silently: it is refused or warned about', () => {
    for (const spec of [{ hostNetwork: true }, { os: { name: 'windows' } }])
      assert.equal(decide(pod(spec), namespace(), settings()).kind, 'deny')
    const elsewhere = decide(pod(), namespace({ labels: {} }), settings())
    assert.match(elsewhere.kind === 'skip' ? elsewhere.warnings.join() : '', /kubectl label namespace/)
    const warned = decide(pod({ hostNetwork: true }), namespace(), settings({ hostNetworkAnnotated: 'warn' }))
    assert.match(warned.kind === 'skip' ? warned.warnings.join() : '', /no sidecar: /)
  })

  it('4: authorities overlap: a new one is trusted before it signs, and an old one while its leaves are valid', () => {
    assert.ok(LIFETIMES.publishedFor >= 5 * 60_000)
    assert.ok(LIFETIMES.leaf < LIFETIMES.authority / 3)
  })

  it('5: the templates contain nothing random and no certificate', () => {
    for (const name of ['webhooks.yaml', 'validating-webhooks.yaml', 'policies.yaml'])
      assert.doesNotMatch(file(name), /^\s*caBundle:|BEGIN|genCA|genSelfSigned|rand/m, name)
  })

  it('6: Jobs complete: the sidecar is a native sidecar, and the gate an ordinary init container', () => {
    const injected = inject(pod({ restartPolicy: 'Never' }))
    assert.deepEqual(
      injected.spec.initContainers.map(({ name, restartPolicy }) => [name, restartPolicy]),
      [
        ['pod2iam-sidecar', 'Always'],
        ['pod2iam-gate', undefined],
      ],
    )
    assert.equal(injected.spec.containers.length, 1)
  })

  it('7: the pod’s own init containers come after the sidecar and the gate', () =>
    assert.deepEqual(names(inject(pod({ initContainers: [{ name: 'download', image: 'x' }] }))), [
      'pod2iam-sidecar',
      'pod2iam-gate',
      'download',
    ]))

  it('8: a mesh can carry our traffic: its containers stay in front of ours', () =>
    assert.deepEqual(
      names(
        inject(
          pod({
            initContainers: [
              { name: 'istio-init', image: 'x' },
              { name: 'istio-proxy', image: 'x' },
            ],
          }),
        ),
      ),
      ['istio-init', 'istio-proxy', 'pod2iam-sidecar', 'pod2iam-gate'],
    ))

  it('9: a stripped restartPolicy is restored, and unknown fields of the pod are kept', () => {
    const given = pod({ futureField: { a: 1 } })
    const stripped = structuredClone(inject(given))
    delete stripped.spec.initContainers[0]?.restartPolicy
    const repaired = inject(stripped as unknown as Dict)
    assert.equal(repaired.spec.initContainers[0]?.restartPolicy, 'Always')
    assert.deepEqual(repaired.spec.futureField, { a: 1 })
  })

  it('10: none of our containers requests NET_ADMIN where PodSecurity refuses it', () => {
    for (const level of ['baseline', 'restricted']) {
      const labels = { [KEYS.injection]: 'enabled', 'pod-security.kubernetes.io/enforce': level }
      assert.doesNotMatch(JSON.stringify(added(inject(pod(), namespace({ labels })))), /NET_ADMIN/)
    }
  })

  it('11 to 13: the gate makes the redirect with nft, and uses no iptables', () => {
    const [, gate = {}] = added(inject(pod()))
    assert.ok((gate.args as string[]).includes('--redirect=nft'))
    assert.doesNotMatch(JSON.stringify(gate), /iptables|xtables|NET_RAW/)
  })

  it('14 and 15: every added container has requests and limits for CPU and memory', () => {
    for (const { resources } of added(inject(pod()))) {
      const { requests, limits } = resources as { requests: Dict; limits: Dict }
      assert.deepEqual(
        [Object.keys(requests), Object.keys(limits)],
        [
          ['cpu', 'memory'],
          ['cpu', 'memory'],
        ],
      )
    }
  })

  it('16: a Guaranteed pod stays Guaranteed', () => {
    const limits = { cpu: '1', memory: '1Gi' }
    const given = pod({ containers: [{ name: 'app', image: 'x', resources: { limits, requests: limits } }] })
    for (const { resources } of added(inject(given))) {
      const { requests, limits: most } = resources as { requests: Dict; limits: Dict }
      assert.deepEqual(requests, most)
    }
  })

  it('17: the token has its own volume, also with automountServiceAccountToken: false, and none of our containers gets a token for the API server', () => {
    for (const spec of [{}, { automountServiceAccountToken: false }]) {
      const injected = withApiServerDefaults(inject(pod(spec)))
      const volume = injected.spec.volumes.find(({ name }) => name === 'pod2iam-token')
      assert.match(JSON.stringify(volume), /"audience":"pod2iam"/)
      assert.doesNotMatch(JSON.stringify(added(injected)), /kube-api-access/)
      assert.equal(
        JSON.stringify(injected.spec.containers).includes('kube-api-access'),
        spec === undefined || !('automountServiceAccountToken' in spec),
      )
    }
  })

  it('18: our containers set their user explicitly', () => {
    const users = added(inject(pod({ securityContext: { runAsUser: 65532, fsGroup: 7 } }))).map(
      ({ securityContext }) => (securityContext as Dict).runAsUser,
    )
    assert.deepEqual(users, [65532, 0])
  })

  it('19: a second pass adds nothing, even after the API server’s defaults and with a copied status', () => {
    const copied = pod({}, { [KEYS.status]: '{"version":"9.9.9"}' }, { [KEYS.injected]: 'true' })
    const once = inject(copied)
    assert.deepEqual(names(once), ['pod2iam-sidecar', 'pod2iam-gate'])
    for (const again of [once, withApiServerDefaults(once)])
      assert.deepEqual(opsOf(decide(again, namespace(), settings())), [])
  })

  it('20: no answer about a namespace is older than the question', async () => {
    let version = 0
    const release: (() => void)[] = []
    const lookup = coalesced(async () => {
      const seen = version
      await new Promise<void>((resolve) => release.push(resolve))
      return namespace({ labels: { version: String(seen) } })
    })
    const first = lookup('shop')
    version = 1
    const second = lookup('shop')
    release.shift()?.()
    await first
    await new Promise(setImmediate)
    release.shift()?.()
    assert.equal((await second).labels.version, '1')
  })
})
