/** The settings of another replica, and the settings by which a review is judged because of them. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import { effectiveSettings, peerKind, strictPeer } from '../../injector/peers/effective-settings.ts'
import { type Peer, readPeer } from '../../injector/peers/peer.ts'
import { type Dict, IMAGES, settings } from './fixtures.ts'
import { OTHER_IMAGES, replicaPod, strictPod } from './replica-pods.ts'

function stored(pod: Dict, metadata: Dict = {}, status: Dict = {}): Peer {
  const own = pod.metadata as Dict
  const peer = readPeer({ ...pod, metadata: { uid: String(own.name), ...own, ...metadata }, status })
  return peer ?? assert.fail('no replica')
}
function settingsOf(pod: Dict): InjectionSettings {
  const { settings } = stored(pod)
  assert.ok(!('problem' in settings), JSON.stringify(settings))
  return settings
}
function withContainer(container: Dict): Dict {
  const pod = replicaPod('a') as { spec: { containers: Dict[] } }
  return { ...pod, spec: { containers: [{ ...pod.spec.containers[0], ...container }] } }
}

describe("another replica's settings", () => {
  it('are read from its arguments as it reads them itself', () => {
    const args = [...IMAGES, '--sidecar-log-level', 'debug', '--gate-accept-drop', '--redirect=env']
    assert.deepEqual(
      settingsOf(replicaPod('a', args)),
      settings({ sidecarLogLevel: 'debug', gateAcceptDrop: true, redirect: 'env' }),
    )
  })
  it('do not include flags of other releases, nor flags that have no influence on pods', () => {
    const args = [...IMAGES, '--invented=1', '--invented-too', 'two', '--port=x', '--imds-tokens=required']
    assert.deepEqual(settingsOf(replicaPod('a', args)), settings({ imdsTokens: 'required' }))
  })
  it('are read from its environment, too, unless a flag takes precedence', () => {
    const env = [
      { name: 'POD2IAM_SIDECAR_LOG_LEVEL', value: 'warn' },
      { name: 'POD2IAM_REDIRECT', value: 'env' },
      { name: 'TAG', value: '7' },
      { name: 'POD2IAM_POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
    ]
    const args = ['--sidecar-image=a:$(TAG)', '--node-guard-image=b:$$(TAG)$(NONE)', '--redirect=nft']
    assert.deepEqual(
      settingsOf(withContainer({ env, args })),
      settings({ sidecarImage: 'a:7', nodeGuardImage: 'b:$(TAG)$(NONE)', sidecarLogLevel: 'warn' }),
    )
  })
  it("have 0.1.0's token lifetime where its pod is of that release", () => {
    const args = [...IMAGES, '--token-expiration-seconds=7200']
    assert.equal(settingsOf(replicaPod('a', args)).tokenExpirationSeconds, 7200)
    assert.equal(settingsOf(strictPod('a', args)).tokenExpirationSeconds, 3600)
  })
  for (const [what, pod, problem] of [
    ['an invalid setting', replicaPod('a', [...IMAGES, '--redirect=magic']), /--redirect must be/],
    ['invalid resources', replicaPod('a', [...IMAGES, '--sidecar-resources=[']), /sidecar-resources/],
    ['no images', replicaPod('a', []), /--sidecar-image .*is required/],
    ['no injector container', withContainer({ name: 'other' }), /no container injector/],
    ['malformed arguments', withContainer({ args: 7, env: 'x' }), /is required/],
  ] as const)
    it(`are unreadable, with a sentence, if the pod has ${what}`, () => {
      const { settings } = stored(pod)
      assert.match('problem' in settings ? settings.problem : '', problem)
      assert.equal(peerKind(stored(pod), settings as InjectionSettings), 'unreadable')
    })
  it('are undefined for an object that is no pod, without an exception', () => {
    for (const object of [undefined, null, 1, [], {}, { metadata: [] }, { metadata: { name: 'a' } }])
      assert.equal(readPeer(object), undefined)
  })
})

describe('the settings of a review', () => {
  const own = settings({
    imdsTokens: 'required',
    policy: { ...settings().policy, permittedRoles: ['arn:*'] },
  })
  const other = stored(
    replicaPod('b', [...OTHER_IMAGES, '--role-key=example.com/role', '--imds-tokens=optional']),
  )
  const strict = stored(
    strictPod('c', [
      ...OTHER_IMAGES,
      ...[
        '--role-key=example.com/role',
        '--default-role=x',
        '--permitted-roles=y',
        '--sidecar-log-level=debug',
      ],
      ...['--host-network-annotated=warn', '--redirect=env', '--startup-gate=off', '--gate-proof=report'],
      ...[
        '--gate-accept-drop',
        '--image-pull-policy=Always',
        '--sidecar-resources={"requests":{"cpu":"25m"}}',
      ],
    ]),
  )

  it('are the replica’s own if it is alone or all others have the same settings', () => {
    assert.equal(effectiveSettings(own, []), own)
    const same = stored(replicaPod('d', [...IMAGES, '--imds-tokens=required', '--permitted-roles=arn:*']))
    assert.equal(peerKind(same, own), 'same')
    assert.equal(effectiveSettings(own, [same]), own)
  })
  it('are its own, with the images and role keys of replicas that judge by form', () => {
    assert.equal(peerKind(other, own), 'other-settings')
    assert.deepEqual(effectiveSettings(own, [other, { ...other, uid: 'e' }]), {
      ...own,
      otherSidecarImages: ['mirror/sidecar:2'],
      otherNodeGuardImages: ['mirror/node-guard:2'],
      otherRoleKeys: ['example.com/role'],
    })
  })
  it('are those of a replica that judges by exact equality, with the own policy', () => {
    assert.equal(peerKind(strict, own), 'strict')
    const theirs = strict.settings as InjectionSettings
    assert.deepEqual(effectiveSettings(own, [other, strict]), {
      ...theirs,
      tokenExpirationSeconds: 3600,
      mayWriteNewFields: false,
      defaultRole: own.defaultRole,
      policy: own.policy,
      hostNetworkAnnotated: own.hostNetworkAnnotated,
      resourcesMax: own.resourcesMax,
      otherSidecarImages: [own.sidecarImage],
      otherNodeGuardImages: [own.nodeGuardImage],
      otherRoleKeys: [own.roleKey],
    })
  })
  it('include the images and keys of a replica that has ended, for pods that it has mutated', () => {
    const { otherSidecarImages, otherRoleKeys, ...rest } = effectiveSettings(
      own,
      [],
      [strict.settings as InjectionSettings],
    )
    assert.deepEqual([otherSidecarImages, otherRoleKeys], [['mirror/sidecar:2'], ['example.com/role']])
    assert.equal(rest.sidecarImage, own.sidecarImage)
  })
  it('are those of the newest replica that judges by exact equality, or of a terminating one if there is no other', () => {
    const at = (name: string, minute: number, metadata: Dict = {}) =>
      stored(strictPod(name), { creationTimestamp: `2026-01-01T00:0${minute}:00Z`, ...metadata })
    const going = { deletionTimestamp: '2026-01-01T00:09:00Z' }
    assert.equal(strictPeer([at('a', 1), at('b', 3), at('c', 2)])?.name, 'b')
    assert.equal(strictPeer([at('a', 1), at('b', 3, going), at('c', 2)])?.name, 'c')
    assert.equal(strictPeer([at('b', 3, going)])?.name, 'b')
    const unreadable = stored(strictPod('d', []), { creationTimestamp: '2026-01-01T00:05:00Z' })
    assert.equal(strictPeer([unreadable, at('a', 1)])?.name, 'a')
    assert.equal(strictPeer([other]), undefined)
  })
})
