/** Container credentials at admission: which pods get them, what is added, what is left alone, and what other replicas do with it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import { effectiveSettings } from '../../injector/peers/effective-settings.ts'
import { readPeer } from '../../injector/peers/peer.ts'
import { namespaceValues, podValues } from '../../injector/warnings/misspelt-values.ts'
import {
  applyPatch,
  type Dict,
  decide,
  decideFinal,
  IMAGES,
  namespace,
  opsOf,
  pod,
  settings,
  withApiServerDefaults,
} from './fixtures.ts'
import { replicaPod, strictPod } from './replica-pods.ts'

const ON = { redirect: 'env', containerCredentials: 'on' } as const
const ENV = { redirect: 'env' } as const
const FULL_URI = {
  name: 'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  value: 'http://127.0.0.1:9169/container-credentials',
}
const TOKEN_FILE = {
  name: 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
  value: '/var/run/secrets/pod2iam-container/token',
}
const ENDPOINT = { name: 'AWS_EC2_METADATA_SERVICE_ENDPOINT', value: 'http://127.0.0.1:9169/' }
const VOLUME = 'pod2iam-container-token'
const MOUNT = { name: VOLUME, mountPath: '/var/run/secrets/pod2iam-container', readOnly: true }

type Named = Dict & { readonly name: string }
type One = Named & { env?: Dict[]; volumeMounts?: Dict[] }
type Injected = Dict & {
  readonly metadata: { readonly annotations: Record<string, string> }
  readonly spec: { readonly containers: One[]; readonly initContainers: One[]; readonly volumes: Named[] }
}

const choosing = (mode?: string) => {
  const plain = namespace()
  const added = mode === undefined ? {} : { [KEYS.containerCredentials]: mode }
  return { ...plain, annotations: { ...plain.annotations, ...added } }
}
const app = (more: Dict = {}) => ({ name: 'app', image: 'a', ...more })
const injected = (of: unknown = pod(), by: Partial<InjectionSettings> = ON, mode?: string) =>
  applyPatch(of as Dict, opsOf(decide(of, choosing(mode), settings(by)))) as unknown as Injected
const appOf = ({ spec }: Injected) => spec.containers[0] ?? assert.fail()
const sidecarOf = ({ spec }: Injected) =>
  spec.initContainers.find(({ name }) => name === 'pod2iam-sidecar') ?? assert.fail()
const hasThem = (one: Injected) => JSON.stringify(one).includes('pod2iam-container')
const warningsOf = (decision: object) => ('warnings' in decision ? JSON.stringify(decision.warnings) : '')
const sentenceOf = (decision: object) => ('sentence' in decision ? String(decision.sentence) : '')
const withEnv = (...env: Dict[]) => pod({ containers: [app({ env })] })

describe('container credentials', () => {
  it('adds no empty list to a container that gets nothing', () => {
    for (const by of [settings(), settings({ ...ENV }), settings({ ...ON })])
      for (const container of [
        {},
        { env: [] },
        { env: [FULL_URI, TOKEN_FILE, ENDPOINT], volumeMounts: [MOUNT] },
      ]) {
        const containers = [{ name: 'app', image: 'orders', ...container }]
        for (const op of opsOf(decide(pod({ containers }), namespace(), by)))
          if (op.path.startsWith('/spec/containers/') && 'value' in op)
            assert.notDeepEqual(op.value, [], JSON.stringify(op))
      }
  })
  it('are off unless the pod, its namespace or the operator chooses otherwise, in this order of precedence', () => {
    assert.ok(!hasThem(injected(pod(), ENV)))
    assert.ok(hasThem(injected(pod(), ON)))
    assert.ok(hasThem(injected(pod(), ENV, 'on')))
    assert.ok(!hasThem(injected(pod(), ON, 'off')))
    assert.ok(hasThem(injected(pod({}, { [KEYS.containerCredentials]: 'on' }), ENV, 'off')))
    assert.ok(!hasThem(injected(pod({}, { [KEYS.containerCredentials]: 'off' }), ON, 'on')))
    assert.match(
      sentenceOf(decide(pod({}, { [KEYS.containerCredentials]: 'yes' }), choosing(), settings(ENV))),
      /container-credentials must be "on" or "off", not "yes"/,
    )
    assert.match(namespaceValues(choosing('onn'), settings()).join(), /did you mean "on"/)
    assert.match(podValues({ [KEYS.containerCredentials]: 'offf' }).join(), /did you mean "off"/)
  })

  it('have no effect in redirect mode nft, with a warning for a pod that asks, nor for pods without a role', () => {
    const asking = pod({}, { [KEYS.containerCredentials]: 'on' })
    const decision = decide(asking, choosing(), settings())
    assert.ok(!hasThem(applyPatch(asking, opsOf(decision)) as unknown as Injected))
    assert.match(warningsOf(decision), /has no effect in redirect mode nft/)
    assert.equal(warningsOf(decide(pod(), choosing('on'), settings())), '[]')
    const metadataOnly = { metadata: { name: 'x', annotations: { [KEYS.inject]: 'metadata' } } }
    assert.ok(!hasThem(injected({ ...pod(), ...metadataOnly })))
  })

  it('add two variables and the read-only secret to every container after ours', () => {
    for (const start of ['auto', 'two-stage'] as const) {
      const given = pod({
        containers: [app(), { ...app(), name: 'other', env: [{ name: 'A', value: 'b' }], volumeMounts: [] }],
        initContainers: [{ name: 'migrate', image: 'm' }],
      })
      const { spec, metadata } = injected(given, { ...ON, start })
      const last: One = spec.initContainers.at(-1) ?? assert.fail()
      for (const { env = [], volumeMounts } of [...spec.containers, last]) {
        assert.deepEqual(env.slice(-3), [ENDPOINT, FULL_URI, TOKEN_FILE])
        assert.deepEqual(volumeMounts, [MOUNT])
      }
      const sidecar = sidecarOf({ spec, metadata } as Injected)
      assert.deepEqual(sidecar.volumeMounts?.at(-1), { name: MOUNT.name, mountPath: MOUNT.mountPath })
      assert.deepEqual(sidecar.env?.at(-1), {
        name: 'POD2IAM_CONTAINER_TOKEN_FILE',
        value: TOKEN_FILE.value,
      })
      assert.deepEqual(
        spec.volumes.find(({ name }) => name === VOLUME),
        { name: VOLUME, emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
      )
      const gate = spec.initContainers.find(({ name }) => name === 'pod2iam-gate')
      assert.ok(!JSON.stringify(gate ?? {}).includes(VOLUME))
      assert.equal(JSON.parse(metadata.annotations[KEYS.status] ?? '').containerCredentials, true)
    }
  })

  const CHOICES: Readonly<Record<string, Dict>> = {
    'the credentials of ECS': { name: 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI', value: '/v2/x' },
    'the credentials of EKS Pod Identity': {
      name: 'AWS_CONTAINER_CREDENTIALS_FULL_URI',
      value: 'http://169.254.170.23/v1/credentials',
    },
    'a secret of its own': { name: 'AWS_CONTAINER_AUTHORIZATION_TOKEN', value: 'x' },
    'web identity': { name: 'AWS_WEB_IDENTITY_TOKEN_FILE', value: '/var/run/secrets/eks.amazonaws.com/t' },
    'access keys': { name: 'AWS_ACCESS_KEY_ID', valueFrom: { secretKeyRef: { name: 'k', key: 'id' } } },
    'no metadata service': { name: 'AWS_EC2_METADATA_DISABLED', value: 'True' },
    'another metadata service': { name: ENDPOINT.name, value: 'http://mock:1338' },
  }
  for (const [what, entry] of Object.entries(CHOICES))
    it(`leave a container alone that has chosen ${what}`, () => {
      const one = injected(withEnv(entry))
      const others = entry.name === ENDPOINT.name ? [] : [ENDPOINT]
      assert.deepEqual(appOf(one).env, [entry, ...others])
      assert.equal(appOf(one).volumeMounts, undefined)
    })
  it('are added to a container that allows the metadata service or names our endpoint', () => {
    for (const entry of [ENDPOINT, { name: 'AWS_EC2_METADATA_DISABLED', value: 'false' }])
      assert.deepEqual(appOf(injected(withEnv(entry))).volumeMounts, [MOUNT])
  })
  it('leave a container alone only if their directory could not be created in it', () => {
    const mounting = (mount: Dict) => appOf(injected(pod({ containers: [app({ volumeMounts: [mount] })] })))
    for (const mountPath of ['/var/run/secrets/pod2iam-container', '/run/secrets/pod2iam-container/'])
      assert.equal(mounting({ name: 'x', mountPath }).env?.length, 1, mountPath)
    for (const mountPath of ['/', '/var', '/var/run', '/run', '/run/secrets/'])
      assert.equal(mounting({ name: 'x', mountPath, readOnly: true }).env?.length, 1, mountPath)
    for (const mount of [
      { name: 'x', mountPath: '/run' },
      { name: 'x', mountPath: '/var/run/secrets/eks', readOnly: true },
      { name: 'x', mountPath: '/runner', readOnly: true },
    ])
      assert.equal(mounting(mount).env?.length, 3, mount.mountPath)
  })

  it('are unchanged when the webhook is called again, and are admitted at the end', () => {
    for (const start of ['auto', 'two-stage'] as const) {
      const by = settings({ ...ON, start })
      const one = withApiServerDefaults(injected(pod(), { ...ON, start }) as unknown as Dict)
      const again = decide(one, choosing(), by)
      assert.deepEqual(opsOf(again), [])
      assert.doesNotMatch(warningsOf(again), /AWS_CONTAINER/)
      assert.equal(decideFinal(one, choosing(), by).kind, 'allow')
    }
  })
  it('are removed from a copied pod where they are off, and added to one where they are on', () => {
    const [on, off, nft] = [injected(), injected(pod(), ENV), injected(pod(), {})]
    for (const { from, by, has } of [
      { from: on, by: ENV, has: false },
      { from: on, by: {}, has: false },
      { from: off, by: ON, has: true },
      { from: nft, by: ON, has: true },
    ]) {
      const corrected = injected(from, by)
      assert.equal(hasThem(corrected), has)
      assert.deepEqual(
        (appOf(corrected).env ?? []).map(({ name }) => name),
        has ? [ENDPOINT.name, FULL_URI.name, TOKEN_FILE.name] : 'redirect' in by ? [ENDPOINT.name] : [],
      )
      assert.equal(decideFinal(corrected, choosing(), settings(by)).kind, 'allow')
      assert.deepEqual(opsOf(decide(corrected, choosing(), settings(by))), [])
    }
  })
  it('are removed from a container for which another webhook has made a choice since', () => {
    const one = injected()
    appOf(one).env?.push(CHOICES['web identity'] ?? {})
    assert.deepEqual(
      (appOf(injected(one)).env ?? []).map(({ name }) => name),
      [ENDPOINT.name, 'AWS_WEB_IDENTITY_TOKEN_FILE'],
    )
  })

  it('let no pod mount the secret writable or elsewhere, or replace it with its own volume', () => {
    for (const mount of [
      { name: VOLUME, mountPath: MOUNT.mountPath },
      { ...MOUNT, mountPath: '/x' },
      { ...MOUNT, subPath: 'token' },
    ]) {
      const thief = pod({ containers: [app({ volumeMounts: [mount] })] })
      assert.match(
        sentenceOf(decide(thief, choosing(), settings(ON))),
        /container "app" mounts volume pod2iam-c/,
      )
    }
    const forged = pod({ volumes: [{ name: VOLUME, hostPath: { path: '/' } }] })
    assert.match(sentenceOf(decide(forged, choosing(), settings(ON))), /is not as the injector adds it/)
  })
  it('are refused if another webhook leaves only part of them in the sidecar, and are completed in another pass', () => {
    for (const spoil of [
      (one: Injected) => sidecarOf(one).env?.pop(),
      (one: Injected) => sidecarOf(one).volumeMounts?.pop(),
      (one: Injected) => Object.assign(sidecarOf(one).env?.at(-1) ?? {}, { value: '/etc/passwd' }),
      (one: Injected) => Object.assign(sidecarOf(one).volumeMounts?.at(-1) ?? {}, { mountPath: '/x' }),
      (one: Injected) =>
        one.spec.volumes.splice(
          one.spec.volumes.findIndex(({ name }) => name === VOLUME),
          1,
        ),
    ]) {
      const one = injected()
      spoil(one)
      assert.equal(decideFinal(one, choosing(), settings(ON)).kind, 'deny', String(spoil))
      assert.equal(decideFinal(injected(one), choosing(), settings(ON)).kind, 'allow', String(spoil))
    }
  })
})

describe('container credentials beside other replicas', () => {
  const peer = (object: Dict) =>
    readPeer({ ...object, metadata: { uid: 'a', ...(object.metadata as Dict) } }) ?? assert.fail()
  it('are left out, with a warning, while a replica of 0.1.0 would refuse their volume', () => {
    const old = peer(strictPod('old', [...IMAGES, '--redirect=env']))
    const among = effectiveSettings(settings(ON), [old])
    const decision = decide(pod(), choosing('on'), among)
    const one = applyPatch(pod(), opsOf(decision)) as unknown as Injected
    assert.ok(!hasThem(one))
    assert.match(warningsOf(decision), /no container credentials, since an injector of a release before them/)
    // This pod was written by a replica that did not know about the old one yet.
    assert.equal(decideFinal(injected(), choosing(), among).kind, 'allow')
  })
  it('are accepted as another replica wrote them, on or off', () => {
    const other = peer(replicaPod('b', [...IMAGES, '--redirect=env', '--container-credentials=on']))
    const among = effectiveSettings(settings(ENV), [other])
    assert.equal(decideFinal(injected(), choosing(), among).kind, 'allow')
    assert.equal(decideFinal(injected(pod(), ENV), choosing(), settings(ON)).kind, 'allow')
  })
})
