/** The settings of another replica, and by which settings a review is judged because of them. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import { type Peer, readPeer } from '../../injector/peers/peer.ts'
import { peerKind, settingsAmong, strictPeer } from '../../injector/peers/settings-among.ts'
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
  it('leave out flags of other releases, and those that decide about no pod', () => {
    const args = [...IMAGES, '--invented=1', '--invented-too', 'two', '--port=x', '--imds-tokens=required']
    assert.deepEqual(settingsOf(replicaPod('a', args)), settings({ imdsTokens: 'required' }))
  })
  it('are read from its environment, too, where a flag does not win over it', () => {
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
  it("have 0.1.0's token life where its pod is of that release", () => {
    const args = [...IMAGES, '--token-expiration-seconds=7200']
    assert.equal(settingsOf(replicaPod('a', args)).tokenExpirationSeconds, 7200)
    assert.equal(settingsOf(strictPod('a', args)).tokenExpirationSeconds, 3600)
  })
  for (const [what, pod, problem] of [
    ['a setting that cannot be read', replicaPod('a', [...IMAGES, '--redirect=magic']), /--redirect must be/],
    [
      'resources that cannot be read',
      replicaPod('a', [...IMAGES, '--sidecar-resources=[']),
      /sidecar-resources/,
    ],
    ['no images', replicaPod('a', []), /--sidecar-image .*is required/],
    ['no such container', withContainer({ name: 'other' }), /no container injector/],
    ['arguments of another shape', withContainer({ args: 7, env: 'x' }), /is required/],
  ] as const)
    it(`are a problem in words where there is ${what}`, () => {
      const { settings } = stored(pod)
      assert.match('problem' in settings ? settings.problem : '', problem)
      assert.equal(peerKind(stored(pod), settings as InjectionSettings), 'unreadable')
    })
  it('are none of what is no pod, and reading it does not throw', () => {
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

  it('are its own where it is alone, or all are set as it is', () => {
    assert.equal(settingsAmong(own, []), own)
    const same = stored(replicaPod('d', [...IMAGES, '--imds-tokens=required', '--permitted-roles=arn:*']))
    assert.equal(peerKind(same, own), 'same')
    assert.equal(settingsAmong(own, [same]), own)
  })
  it('are its own, with the images and role keys of those that judge by form', () => {
    assert.equal(peerKind(other, own), 'other-settings')
    assert.deepEqual(settingsAmong(own, [other, { ...other, uid: 'e' }]), {
      ...own,
      otherSidecarImages: ['mirror/sidecar:2'],
      otherNodeGuardImages: ['mirror/node-guard:2'],
      otherRoleKeys: ['example.com/role'],
    })
  })
  it('write as the one that judges to the letter, and decide by its own policy', () => {
    assert.equal(peerKind(strict, own), 'strict')
    const theirs = strict.settings as InjectionSettings
    assert.deepEqual(settingsAmong(own, [other, strict]), {
      ...theirs,
      tokenExpirationSeconds: 3600,
      writesNewForms: false,
      defaultRole: own.defaultRole,
      policy: own.policy,
      hostNetworkAnnotated: own.hostNetworkAnnotated,
      resourcesMax: own.resourcesMax,
      otherSidecarImages: [own.sidecarImage],
      otherNodeGuardImages: [own.nodeGuardImage],
      otherRoleKeys: [own.roleKey],
    })
  })
  it('know the images and keys of one that is gone, for pods that it has mutated', () => {
    const { otherSidecarImages, otherRoleKeys, ...rest } = settingsAmong(
      own,
      [],
      [strict.settings as InjectionSettings],
    )
    assert.deepEqual([otherSidecarImages, otherRoleKeys], [['mirror/sidecar:2'], ['example.com/role']])
    assert.equal(rest.sidecarImage, own.sidecarImage)
  })
  it('follow the newest of several that judge to the letter, and one that goes only where no other is', () => {
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
