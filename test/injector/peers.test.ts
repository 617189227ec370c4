/** The watch by which a replica knows the other replicas, against an API server. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { type Clock, systemClock } from '../../common/clock.ts'
import { apiServer } from '../../injector/kubernetes/access.ts'
import { type Peers, watchPeers } from '../../injector/peers/peers.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { captureLog, type LogLine } from '../support/log.ts'
import { until } from '../support/until.ts'
import { type Dict, IMAGES, settings } from './fixtures.ts'
import { OTHER_IMAGES, PLACE, replicaPod, SELECTOR, strictPod } from './replica-pods.ts'

describe('the watch over the other replicas', () => {
  let directory: string
  let api: ApiServer
  let ending: AbortController
  let lines: LogLine[]
  /** Callbacks of long timers by their delay in milliseconds; the test runs them itself. */
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
    late = new Map()
    const captured = captureLog('info')
    lines = captured.lines
    const clock: Clock = {
      now: () => Date.now() + ahead,
      after(milliseconds, action) {
        if (![10_000, 60_000].includes(milliseconds)) return systemClock.after(milliseconds, action)
        late.set(milliseconds, action)
        return () => late.delete(milliseconds)
      },
    }
    const { background: kube } = await apiServer(await api.kubeconfig(token))
    ending.signal.addEventListener('abort', () => kube.close())
    const pods = { namespace: PLACE, selector: SELECTOR, name: 'self' }
    return watchPeers(own, pods, { kube, clock, log: captured.log, signal: ending.signal })
  }
  const kinds = ({ counts }: Peers) => {
    const { same, strict, unreadable, ...rest } = counts()
    return [same, rest['other-settings'], strict, unreadable].join()
  }

  it('knows the existing replicas before it is settled, and counts neither itself nor other pods', async () => {
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
      lines.map(({ level, replica, image }) => [level, replica, image]),
      [['info', 'old', 'pod2iam/injector:1']],
    )
  })

  it('follows a replica that judges by exact equality until it is gone, and logs the beginning and the end once', async () => {
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
    assert.equal(peers.settings().redirect, 'env', 'a terminating replica still answers')
    await remove('old')
    await until(() => peers.settings().redirect === own.redirect)
    assert.deepEqual(
      peers.settings().otherSidecarImages,
      ['mirror/sidecar:2'],
      'its pods may still have to be judged',
    )
    late.get(60_000)?.()
    assert.equal(peers.settings(), own)
    assert.equal(lines.length, 2)
    assert.match(lines[1]?.msg ?? '', /own way again/)
  })

  it('does not count a replica that has ended', async () => {
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

  it('warns once about a replica whose settings cannot be read, and ignores them', async () => {
    const peers = await start()
    await create(strictPod('odd', ['--redirect=magic']))
    await until(() => peers.counts().unreadable === 1)
    const patch = { metadata: { labels: { changed: 'yes' } } }
    await api.admin.patch('pods', 'odd', PLACE, patch)
    await create(replicaPod('same'))
    await until(() => peers.counts().same === 1)
    assert.equal(peers.settings(), own)
    assert.deepEqual(
      lines.map(({ level, replica }) => [level, replica]),
      [['warn', 'odd']],
    )
    assert.match(String(lines[0]?.problem), /--redirect must be/)
  })

  it('leaves the replica its own settings where it is forbidden, and warns once, with verb and resource', async () => {
    await create(strictPod('old', OTHER_IMAGES))
    const { token } = await api.admin.createToken(PLACE, 'nobody')
    const peers = await start(token)
    await until(() => lines.length > 0)
    assert.equal(peers.isSettled(), false)
    late.get(10_000)?.()
    assert.equal(peers.isSettled(), true)
    assert.equal(peers.settings(), own)
    assert.equal(lines.length, 1)
    assert.match(lines[0]?.msg ?? '', /list and watch pods in namespace pod2iam-system/)
    assert.match(String(lines[0]?.problem), /cannot list resource "pods"/)
  })

  it('keeps what it knew for five minutes while the API server is unreachable, and knows it again afterwards', async () => {
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

  it('notices each new replica', async (t) => {
    const peers = await start()
    await until(peers.isSettled)
    const lags: number[] = []
    for (let round = 0; round < 20; round++) {
      const began = performance.now()
      await create(strictPod(`old-${round}`, [...IMAGES, '--redirect=env']))
      await until(() => peers.settings() !== own, { pollMs: 1 })
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
