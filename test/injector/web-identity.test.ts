/** The credential source web-identity at admission: who chooses it, what it adds, and what is refused with it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import { effectiveSettings } from '../../injector/peers/effective-settings.ts'
import { readPeer } from '../../injector/peers/peer.ts'
import { misspeltKeys } from '../../injector/warnings/misspelt-keys.ts'
import { namespaceValues } from '../../injector/warnings/misspelt-values.ts'
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

const BOTH = { credentialSources: ['node-role', 'web-identity'] } as const
const FIRST = { credentialSources: ['web-identity', 'node-role'] } as const
const DIRECTORY = '/var/run/secrets/pod2iam-web-identity'

const choosing = (source?: string) => {
  const plain = namespace()
  const annotations = {
    ...plain.annotations,
    ...(source === undefined ? {} : { [KEYS.credentialSource]: source }),
  }
  return { ...plain, annotations }
}
type Injected = Dict & {
  readonly metadata: { readonly annotations: Record<string, string> }
  readonly spec: { readonly containers: Dict[]; readonly initContainers: Dict[]; readonly volumes: Dict[] }
}
const injected = (
  by: Partial<InjectionSettings> = BOTH,
  source: string | null = 'web-identity',
  of = pod(),
) => applyPatch(of, opsOf(decide(of, choosing(source ?? undefined), settings(by)))) as Injected
const sidecarOf = ({ spec }: Injected) =>
  spec.initContainers.find(({ name }) => name === 'pod2iam-sidecar') ?? assert.fail()
const envOf = (one: Injected) =>
  Object.fromEntries(
    (sidecarOf(one).env as { name: string; value: string }[]).map(({ name, value }) => [name, value]),
  )
const hasToken = (one: Injected) =>
  one.spec.volumes.some(({ name }) => name === 'pod2iam-web-identity') ||
  JSON.stringify(sidecarOf(one)).includes('web-identity')
const sentenceOf = (decision: object) => ('sentence' in decision ? String(decision.sentence) : '')

describe('the credential source', () => {
  it('is the node’s role by default, and nothing is added then', () => {
    assert.ok(!hasToken(injected({}, null)))
    assert.ok(!hasToken(injected(BOTH, null)))
    assert.deepEqual(injected(BOTH, 'node-role'), injected({}, null))
  })
  it('is the first one in the operator’s list, or another one in it that the namespace names', () => {
    assert.ok(hasToken(injected(FIRST, null)))
    assert.ok(!hasToken(injected(FIRST, 'node-role')))
    assert.ok(hasToken(injected(BOTH, 'web-identity')))
  })
  it('is refused where the list does not contain it', () => {
    for (const [source, by] of [
      ['web-identity', {}],
      ['webidentity', BOTH],
    ] as const)
      assert.match(
        sentenceOf(decide(pod(), choosing(source), settings(by))),
        /^namespace shop: annotation pod2iam\.dev\/credential-source must be "node-role".*--credential-sources allow, not "/,
      )
  })
  it('cannot be chosen by a pod, which gets a warning', () => {
    const own = pod({}, { [KEYS.credentialSource]: 'web-identity' })
    const decision = decide(own, choosing(), settings(BOTH))
    assert.ok(!hasToken(applyPatch(own, opsOf(decision)) as Injected))
    assert.match(
      JSON.stringify('warnings' in decision && decision.warnings),
      /no effect on a pod: it belongs on the namespace/,
    )
    assert.match(
      misspeltKeys({ annotations: { [KEYS.credentialSource]: 'x' }, labels: {} }, 'pod', KEYS.role).join(),
      /belongs on the namespace/,
    )
  })
  it('causes a warning on a namespace where it is misspelt or not allowed', () => {
    assert.match(
      namespaceValues(choosing('web-idenity'), settings(BOTH)).join(),
      /did you mean "web-identity"/,
    )
    assert.match(
      namespaceValues(choosing('web-identity'), settings()).join(),
      /must be "node-role", not "web-identity"/,
    )
    assert.deepEqual(namespaceValues(choosing('web-identity'), settings(BOTH)), [])
  })
})

describe('web identity', () => {
  it('adds a second token only for the sidecar, and freezes the source in its env', () => {
    const one = injected({ ...BOTH, webIdentityAudience: 'vault', tokenExpirationSeconds: 7200 })
    const { POD2IAM_CREDENTIAL_SOURCE, POD2IAM_WEB_IDENTITY_TOKEN_FILE } = envOf(one)
    assert.deepEqual(
      [POD2IAM_CREDENTIAL_SOURCE, POD2IAM_WEB_IDENTITY_TOKEN_FILE],
      ['web-identity', `${DIRECTORY}/token`],
    )
    assert.deepEqual(
      one.spec.volumes.find(({ name }) => name === 'pod2iam-web-identity'),
      {
        name: 'pod2iam-web-identity',
        projected: {
          sources: [{ serviceAccountToken: { audience: 'vault', expirationSeconds: 7200, path: 'token' } }],
        },
      },
    )
    const mounting = [...one.spec.containers, ...one.spec.initContainers].filter((container) =>
      JSON.stringify(container.volumeMounts ?? []).includes('pod2iam-web-identity'),
    )
    assert.deepEqual(
      mounting.map(({ name }) => name),
      ['pod2iam-sidecar'],
    )
    assert.equal(JSON.parse(one.metadata.annotations[KEYS.status] ?? '').credentialSource, 'web-identity')
  })
  it('is unchanged when the webhook is called again, and is admitted at the end', () => {
    for (const more of [{}, { redirect: 'env' }] as const) {
      const by = settings({ ...BOTH, ...more })
      const one = withApiServerDefaults(injected({ ...BOTH, ...more }))
      assert.deepEqual(opsOf(decide(one, choosing('web-identity'), by)), [])
      assert.equal(decideFinal(one, choosing('web-identity'), by).kind, 'allow')
    }
  })
  it('is corrected in a pod that was copied from a namespace with another source', () => {
    for (const [from, to] of [
      ['web-identity', 'node-role'],
      ['node-role', 'web-identity'],
    ] as const) {
      const copied = injected(BOTH, from)
      const corrected = applyPatch(copied, opsOf(decide(copied, choosing(to), settings(BOTH)))) as Injected
      assert.equal(hasToken(corrected), to === 'web-identity')
      assert.equal(decideFinal(corrected, choosing(to), settings(BOTH)).kind, 'allow')
      // Where another webhook has the last word, the pod does not get the source of its choice.
      assert.match(
        sentenceOf(decideFinal(copied, choosing(to), settings(BOTH))),
        /a credential source that is not its namespace's/,
      )
    }
  })
  it('refuses a sidecar that has only a part of the token, its file and the source', () => {
    for (const spoil of [
      (one: Injected) =>
        one.spec.volumes.splice(
          one.spec.volumes.findIndex(({ name }) => name === 'pod2iam-web-identity'),
          1,
        ),
      (one: Injected) => (sidecarOf(one).volumeMounts as Dict[]).pop(),
      (one: Injected) => (sidecarOf(one).env as Dict[]).pop(),
      (one: Injected) => Object.assign((sidecarOf(one).env as Dict[]).at(-1) ?? {}, { value: '/etc/passwd' }),
      (one: Injected) => Object.assign((sidecarOf(one).env as Dict[]).at(-2) ?? {}, { value: 'node-role' }),
    ]) {
      const one = injected()
      spoil(one)
      assert.equal(decideFinal(one, choosing('web-identity'), settings(BOTH)).kind, 'deny', String(spoil))
    }
  })
  it('refuses another container that mounts the token, and another volume of its name', () => {
    const volumeMounts = [{ name: 'pod2iam-web-identity', mountPath: '/x' }]
    const thief = pod({ containers: [{ name: 'app', image: 'a', volumeMounts }] })
    assert.match(
      sentenceOf(decide(thief, choosing('web-identity'), settings(BOTH))),
      /mounts volume pod2iam-web-identity/,
    )
    const forged = pod({ volumes: [{ name: 'pod2iam-web-identity', emptyDir: {} }] })
    assert.match(
      sentenceOf(decide(forged, choosing('web-identity'), settings(BOTH))),
      /is not as the injector adds it/,
    )
  })
  it('refuses an external id and the operator’s session tags, which web identity does not have', () => {
    const asking = pod({}, { [KEYS.externalId]: 'a:b' })
    assert.match(
      sentenceOf(decide(asking, choosing('web-identity'), settings(BOTH))),
      /external-id cannot be honoured: pods of namespace shop get their roles by web identity .*has no external id/,
    )
    assert.equal(decide(asking, choosing('node-role'), settings(BOTH)).kind, 'patch')
    const tagged = settings({ ...BOTH, sessionTags: true })
    assert.match(
      sentenceOf(decide(pod(), choosing('web-identity'), tagged)),
      /has none of the session tags \(broker\.sessionTags, broker\.extraSessionTags\) that the operator demands/,
    )
    assert.equal(decide(pod(), choosing('node-role'), tagged).kind, 'patch')
  })
})

describe('web identity beside other replicas', () => {
  const peer = (object: Dict) =>
    readPeer({ ...object, metadata: { uid: 'a', ...(object.metadata as Dict) } }) ?? assert.fail()
  it('is not used, with a warning, while a replica of 0.1.0 would refuse the second token', () => {
    const among = effectiveSettings(settings(BOTH), [peer(strictPod('old', IMAGES))])
    const decision = decide(pod(), choosing('web-identity'), among)
    const one = applyPatch(pod(), opsOf(decision)) as Injected
    assert.ok(!hasToken(one))
    assert.match(
      JSON.stringify('warnings' in decision && decision.warnings),
      /delete the pod when the rollout is over/,
    )
    for (const by of [among, effectiveSettings(settings(BOTH), [], [settings()])])
      assert.equal(decideFinal(one, choosing('web-identity'), by).kind, 'allow')
    // This pod was written by a replica that did not know about the old one yet.
    assert.equal(decideFinal(injected(), choosing('web-identity'), among).kind, 'allow')
  })
  it('is accepted where a replica with another list has chosen it, while that one serves', () => {
    const other = peer(
      replicaPod('b', [
        ...IMAGES,
        '--credential-sources=web-identity,node-role',
        '--web-identity-audience=vault',
      ]),
    )
    const among = effectiveSettings(settings(BOTH), [other])
    assert.deepEqual(among.otherCredentialSources, [['web-identity', 'node-role']])
    const theirs = injected({ ...FIRST, webIdentityAudience: 'vault' }, null)
    assert.equal(decideFinal(theirs, choosing(), among).kind, 'allow')
    assert.equal(decideFinal(theirs, choosing(), settings(BOTH)).kind, 'deny')
  })
})
