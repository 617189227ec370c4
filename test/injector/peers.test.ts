/** What a replica knows of the others, and by which settings it decides because of it. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { type Clock, systemClock } from '../../common/clock.ts'
import { ADMISSION_FORMAT } from '../../common/keys.ts'
import { apiServer } from '../../injector/api-server.ts'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import { type Peer, readPeer } from '../../injector/peers/peer.ts'
import { type Peers, watchPeers } from '../../injector/peers/peers.ts'
import { kindOf, settingsAmong, strictPeer } from '../../injector/peers/settings-among.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client.ts'
import { type Dict, IMAGES, settings } from './fixtures.ts'
import { until } from './https.ts'

const PLACE = 'pod2iam-system'
const LABELS = { 'app.kubernetes.io/name': 'pod2iam', 'app.kubernetes.io/component': 'injector' }
const SELECTOR = 'app.kubernetes.io/name=pod2iam,app.kubernetes.io/component=injector'
const OTHER_IMAGES = ['--sidecar-image=mirror/sidecar:2', '--node-guard-image=mirror/node-guard:2']

function replicaPod(name: string, args: readonly string[] = IMAGES): Dict {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: PLACE,
      labels: LABELS,
      annotations: { [ADMISSION_FORMAT]: '1' },
    },
    spec: { nodeName: 'node-1', containers: [{ name: 'injector', image: 'pod2iam/injector:1', args }] },
  }
}
/** Of release 0.1.0. */
const strictPod = (name: string, args?: readonly string[]): Dict => {
  const pod = replicaPod(name, args) as { metadata: Dict }
  return { ...pod, metadata: { ...pod.metadata, annotations: {} } }
}
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
      assert.equal(kindOf(stored(pod), settings as InjectionSettings), 'unreadable')
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
    assert.equal(kindOf(same, own), 'same')
    assert.equal(settingsAmong(own, [same]), own)
  })
  it('are its own, with the images and role keys of those that judge by form', () => {
    assert.equal(kindOf(other, own), 'other-settings')
    assert.deepEqual(settingsAmong(own, [other, { ...other, uid: 'e' }]), {
      ...own,
      otherSidecarImages: ['mirror/sidecar:2'],
      otherNodeGuardImages: ['mirror/node-guard:2'],
      otherRoleKeys: ['example.com/role'],
    })
  })
  it('write as the one that judges to the letter, and decide by its own policy', () => {
    assert.equal(kindOf(strict, own), 'strict')
    const theirs = strict.settings as InjectionSettings
    assert.deepEqual(settingsAmong(own, [other, strict]), {
      ...theirs,
      tokenExpirationSeconds: 3600,
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

describe('the watch over the other replicas', () => {
  let directory: string
  let api: ApiServer
  let ending: AbortController
  let lines: { level: string; message: string; fields: Dict }[]
  /** What waits for a minute or more, or for the first list: run by the test. */
  let late: Map<number, () => void>
  let ahead = 0
  const own = settings()

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2p-'))
    api = await ApiServer.start({ directory, controllers: false })
    await api.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: PLACE } })
    await api.admin.create({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'nobody', namespace: PLACE },
    })
  })
  after(async () => {
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })
  afterEach(async () => {
    ending.abort()
    const { items } = await api.admin.list('pods', { namespace: PLACE })
    for (const { metadata } of items) await remove(metadata.name ?? '')
  })

  const create = (pod: Dict) => api.admin.create(pod as unknown as KubeObject)
  const remove = (name: string) => api.admin.delete('pods', name, PLACE, { gracePeriodSeconds: 0 })
  const start = async (token?: string): Promise<Peers> => {
    ending = new AbortController()
    lines = []
    late = new Map()
    const at =
      (level: string) =>
      (message: string, fields: Dict = {}) =>
        void lines.push({ level, message, fields })
    const log = { debug() {}, info: at('info'), warn: at('warn'), error: at('error') }
    const clock: Clock = {
      now: () => Date.now() + ahead,
      after(milliseconds, action) {
        if (![10_000, 60_000].includes(milliseconds)) return systemClock.after(milliseconds, action)
        late.set(milliseconds, action)
        return () => late.delete(milliseconds)
      },
    }
    const { patient: kube } = await apiServer(await api.kubeconfig(token))
    ending.signal.addEventListener('abort', () => kube.close())
    const pods = { namespace: PLACE, selector: SELECTOR, name: 'self' }
    return watchPeers(own, pods, { kube, clock, log, signal: ending.signal })
  }
  const kinds = ({ counts }: Peers) => {
    const { same, strict, unreadable, ...rest } = counts()
    return [same, rest['other-settings'], strict, unreadable].join()
  }

  it('knows those that are there before it is settled; neither itself nor pods of others', async () => {
    await create(replicaPod('self', OTHER_IMAGES))
    await create({ ...replicaPod('guard'), metadata: { name: 'guard', namespace: PLACE, labels: {} } })
    await create(strictPod('old', [...IMAGES, '--imds-tokens=required']))
    await create(replicaPod('same'))
    const peers = await start()
    assert.equal(peers.isSettled(), false)
    await until(peers.isSettled)
    assert.equal(kinds(peers), '1,0,1,0')
    assert.equal(peers.settings().imdsTokens, 'required')
    assert.deepEqual(
      lines.map(({ level, fields }) => [level, fields.replica, fields.image]),
      [['info', 'old', 'pod2iam/injector:1']],
    )
  })

  it('follows one that judges to the letter until it is gone, and says so once each way', async () => {
    const peers = await start()
    await until(peers.isSettled)
    assert.equal(peers.settings(), own)
    await create(strictPod('old', [...OTHER_IMAGES, '--redirect=env']))
    await until(() => peers.settings().redirect === 'env')
    await api.admin.delete('pods', 'old', PLACE)
    await until(async () => {
      const { metadata } = await api.admin.get('pods', 'old', PLACE)
      return metadata.deletionTimestamp !== undefined
    })
    await create(replicaPod('same'))
    await until(() => peers.counts().same === 1)
    assert.equal(peers.settings().redirect, 'env', 'it still answers while it ends')
    await remove('old')
    await until(() => peers.settings().redirect === own.redirect)
    assert.deepEqual(
      peers.settings().otherSidecarImages,
      ['mirror/sidecar:2'],
      'its pods may not be judged yet',
    )
    late.get(60_000)?.()
    assert.equal(peers.settings(), own)
    assert.equal(lines.length, 2)
    assert.match(lines[1]?.message ?? '', /own way again/)
  })

  it('does not count one that has ended', async () => {
    const peers = await start()
    await create(replicaPod('evicted', OTHER_IMAGES))
    await until(() => peers.counts()['other-settings'] === 1)
    await api.admin.patch(
      'pods',
      'evicted',
      PLACE,
      { status: { phase: 'Failed' } },
      { subresource: 'status' },
    )
    await until(() => kinds(peers) === '0,0,0,0')
  })

  it('warns once of one whose settings cannot be read, and goes by its own', async () => {
    const peers = await start()
    await create(strictPod('odd', ['--redirect=magic']))
    await until(() => peers.counts().unreadable === 1)
    const patch = { metadata: { labels: { changed: 'yes' } } }
    await api.admin.patch('pods', 'odd', PLACE, patch)
    await create(replicaPod('same'))
    await until(() => peers.counts().same === 1)
    assert.equal(peers.settings(), own)
    assert.deepEqual(
      lines.map(({ level, fields }) => [level, fields.replica]),
      [['warn', 'odd']],
    )
    assert.match(String(lines[0]?.fields.problem), /--redirect must be/)
  })

  it('that is forbidden leaves the replica with its own settings, and one warning with verb and resource', async () => {
    await create(strictPod('old', OTHER_IMAGES))
    const { token } = await api.admin.createToken(PLACE, 'nobody')
    const peers = await start(token)
    await until(() => lines.length > 0)
    assert.equal(peers.isSettled(), false)
    late.get(10_000)?.()
    assert.equal(peers.isSettled(), true)
    assert.equal(peers.settings(), own)
    assert.equal(lines.length, 1)
    assert.match(lines[0]?.message ?? '', /list and watch pods in namespace pod2iam-system/)
    assert.match(String(lines[0]?.fields.problem), /cannot list resource "pods"/)
  })

  it('keeps what it knew while the API server is away, for five minutes, and knows it again afterwards', async () => {
    await create(strictPod('old', [...IMAGES, '--redirect=env']))
    const peers = await start()
    await until(() => peers.settings().redirect === 'env')
    await api.refuse()
    try {
      await until(() => lines.some(({ level }) => level === 'warn'))
      assert.equal(peers.settings().redirect, 'env')
      ahead = 300_000
      assert.equal(peers.settings(), own)
    } finally {
      await api.accept()
    }
    await until(async () => {
      await api.bookmark()
      return peers.settings().redirect === 'env'
    })
    assert.equal(lines.filter(({ level }) => level === 'warn').length, 1)
    ahead = 0
  })

  it('tells of a new replica long before that one can be ready', async (t) => {
    const peers = await start()
    await until(peers.isSettled)
    const lags: number[] = []
    for (let round = 0; round < 20; round++) {
      const began = performance.now()
      await create(strictPod(`old-${round}`, [...IMAGES, '--redirect=env']))
      while (peers.settings() === own) await new Promise((resolve) => setImmediate(resolve))
      lags.push(performance.now() - began)
      await remove(`old-${round}`)
      await until(() => peers.settings().redirect === own.redirect)
      late.get(60_000)?.()
    }
    lags.sort((a, b) => a - b)
    t.diagnostic(
      `from the request that creates a pod: median ${lags[10]?.toFixed(1)} ms, most ${lags[19]?.toFixed(1)} ms`,
    )
  })
})
