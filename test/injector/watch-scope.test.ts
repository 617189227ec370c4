/** How little the watch reads from the API server, and that it misses nothing because of that. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import type { Kube, Query } from '../../common/kube/client.ts'
import { apiServer } from '../../injector/kubernetes/access.ts'
import { watchPods } from '../../injector/pod-watch/pod-watch.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { fastClock } from '../support/fake-clock.ts'
import { until } from '../support/until.ts'
import { applyPatch, type Dict, decide, namespace, opsOf, pod, settings } from './fixtures.ts'

type Request = {
  readonly path: string
  readonly query: Query
  readonly metadataOnly: boolean
  readonly watch: boolean
}

const injectedPod = (): Dict => applyPatch(pod(), opsOf(decide(pod(), namespace(), settings())))
/** An injected pod without the label. */
const strippedPod = (): Dict => {
  const injected = injectedPod()
  return { ...injected, metadata: { annotations: (injected.metadata as Dict).annotations } }
}

describe('the watch', () => {
  let directory: string
  let api: ApiServer
  let kube: Kube
  let stopping = new AbortController()
  let reports: string[] = []
  let requests: Request[] = []
  let warnings: string[] = []
  const clock = fastClock(100)

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2i-'))
    api = await ApiServer.start({ directory, controllers: false })
    kube = (await apiServer(await api.kubeconfig())).background
  })
  afterEach(async () => {
    stopping.abort()
    stopping = new AbortController()
    reports = []
    requests = []
    warnings = []
    for (const { metadata } of (await api.admin.list('pods')).items)
      await api.admin.delete('pods', metadata.name ?? '', metadata.namespace, { gracePeriodSeconds: 0 })
    for (const { metadata } of (await api.admin.list('namespaces')).items)
      if (metadata.labels?.[KEYS.injection] !== undefined) await label(metadata.name ?? '', null)
  })
  after(async () => {
    kube?.close()
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  const label = (name: string, mode: string | null) =>
    api.admin.patch('namespaces', name, undefined, { metadata: { labels: { [KEYS.injection]: mode } } })
  /** Opts these namespaces in, and creates the missing ones. */
  const optIn = async (...names: string[]) => {
    for (const name of names) {
      if ((await api.admin.find('namespaces', name)) === undefined)
        await api.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
      await label(name, 'enabled')
    }
  }
  const create = async (where: string, name: string, object: Dict, status?: Dict) => {
    if ((await api.admin.find('namespaces', where)) === undefined)
      await api.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: where } })
    const metadata = { ...(object.metadata as Dict), name, namespace: where }
    await api.admin.create({ ...object, metadata } as unknown as KubeObject)
    if (status) await api.admin.patch('pods', name, where, { status }, { subresource: 'status' })
  }
  function start(most: { known?: number; counted?: number } = {}) {
    const note = (path: string, query: Query, watch: boolean, metadataOnly = false) => {
      if (path.endsWith('/pods')) requests.push({ path, query, metadataOnly, watch })
    }
    const noted: Pick<Kube, 'get' | 'stream'> = {
      get(path, query = {}, reading) {
        note(path, query, false, reading?.metadataOnly)
        return kube.get(path, query, reading)
      },
      stream(path, query, signal, reading) {
        note(path, query, true, reading?.metadataOnly)
        return kube.stream(path, query, signal, reading)
      },
    }
    const log = { debug() {}, info() {}, warn: (text: string) => void warnings.push(text), error() {} }
    const report = ({ namespace, name }: { namespace: string; name: string }, reason: string) =>
      void reports.push(`${reason} ${namespace}/${name}`)
    const by = { kube: noted, clock, log, signal: stopping.signal }
    return watchPods(by, KEYS.role, { report }, async () => 'busy', new Set(), most)
  }
  const missing = (watch: ReturnType<typeof start>, count: number) =>
    until(() => watch.counts().findings.InjectionMissing === count)
  const ENDED = { phase: 'Running', initContainerStatuses: [] }

  it('reads only the metadata of pods that have started and of pods without a sidecar', async () => {
    await optIn('few')
    await create('few', 'runs', injectedPod(), ENDED)
    await create('few', 'starts', injectedPod())
    await create('elsewhere', 'other', pod())
    const watch = start()
    await until(() => watch.counts().versions.get('0.1.0') === 2)
    await until(() => requests.filter((request) => request.watch).length === 3)
    for (const { path, query, metadataOnly, watch } of requests) {
      const ofInjected = query.labelSelector === `${KEYS.injected}=true`
      const isWhole = ofInjected && (watch || query.fieldSelector === 'status.phase=Pending')
      assert.equal(metadataOnly, !isWhole, JSON.stringify(query))
      if (query.labelSelector?.includes('!=')) assert.equal(path, '/api/v1/namespaces/few/pods')
    }
  })

  it('follows a pod from its start to its end', async () => {
    await optIn('few')
    const watch = start()
    const counted = (count: number | undefined) => until(() => watch.counts().versions.get('0.1.0') === count)
    await create('few', 'a', injectedPod())
    await counted(1)
    await api.admin.patch('pods', 'a', 'few', { status: ENDED }, { subresource: 'status' })
    await until(() => requests.filter((request) => request.watch).length === 3)
    await counted(1)
    await api.admin.patch('pods', 'a', 'few', { status: { phase: 'Succeeded' } }, { subresource: 'status' })
    await counted(undefined)
  })

  it('reports a gate that runs again in a pod whose phase stays Running', async () => {
    await optIn('few')
    await create('few', 'rebooted', injectedPod(), ENDED)
    const watch = start()
    await until(() => requests.filter((request) => request.watch).length === 3)
    const gate = { name: 'pod2iam-gate', state: { running: { startedAt: '2026-01-01T00:00:00Z' } } }
    const again = { phase: 'Running', podIP: '10.0.0.9', initContainerStatuses: [gate] }
    await api.admin.patch('pods', 'rebooted', 'few', { status: again }, { subresource: 'status' })
    await until(() => reports.includes('GateWaiting few/rebooted'))
    assert.equal(watch.counts().versions.get('0.1.0'), 1)
    await api.admin.patch('pods', 'rebooted', 'few', { status: ENDED }, { subresource: 'status' })
    await until(() => watch.counts().findings.GateWaiting === 0)
  })

  for (const others of [0, 5])
    it(`finds the pods of namespaces that are opted in at its start or later, beside ${others} other namespaces`, async () => {
      for (const where of ['first', 'second']) await create(where, 'early', pod(), ENDED)
      await optIn('first', ...Array.from({ length: others }, (_, index) => `more-${index}`))
      const watch = start()
      await missing(watch, 1)
      await create('second', 'late', pod())
      await optIn('second')
      await missing(watch, 3)
      await create('second', 'later', pod())
      await missing(watch, 4)
      await until(() => reports.includes('InjectionMissing second/early'))
      const inAll = requests.some(
        ({ path, query }) => path === '/api/v1/pods' && query.labelSelector?.includes('!='),
      )
      assert.equal(inAll, others > 0)
      await label('second', null)
      await missing(watch, 1)
      await api.admin.delete('pods', 'early', 'first', { gracePeriodSeconds: 0 })
      await missing(watch, 0)
    })

  it('changes from a few namespaces to all of them and back, and loses nothing', async () => {
    for (const name of ['n1', 'n2', 'n3', 'n4', 'n5']) await create(name, 'early', pod(), ENDED)
    await optIn('n1', 'n2')
    const watch = start()
    await missing(watch, 2)
    await optIn('n3', 'n4', 'n5')
    await missing(watch, 5)
    for (const name of ['n3', 'n4', 'n5']) await label(name, null)
    await missing(watch, 2)
    await create('n1', 'late', pod())
    await missing(watch, 3)
  })

  it('trusts the spec and status of a pod, whatever its metadata claims', async () => {
    await optIn('few')
    // Somebody removed the label by hand: the pod still has its sidecar, and its gate waits.
    const gate = { name: 'pod2iam-gate', state: { running: { startedAt: '2026-01-01T00:00:00Z' } } }
    await create('few', 'stripped', strippedPod(), {
      phase: 'Pending',
      podIP: '10.0.0.9',
      initContainerStatuses: [gate],
    })
    await create('few', 'bare', { ...strippedPod(), metadata: { annotations: { [KEYS.role]: 'x' } } })
    await create('few', 'boasts', pod({}, { [KEYS.status]: '{"version":"0.1.0"}' }))
    await create('few', 'on-host', pod({ hostNetwork: true }))
    const watch = start()
    await until(() => reports.some((report) => report.startsWith('InjectionMissing')))
    await until(() => reports.includes('GateWaiting few/stripped'))
    await missing(watch, 1)
    assert.deepEqual([...new Set(reports)].sort(), [
      'GateWaiting few/stripped',
      'InjectionMissing few/boasts',
    ])
    // An update of a pod does not discard what is known about it.
    await api.admin.patch('pods', 'on-host', 'few', { metadata: { labels: { x: '1' } } })
    await api.admin.patch('pods', 'stripped', 'few', { status: ENDED }, { subresource: 'status' })
    await until(() => watch.counts().findings.GateWaiting === 0)
    await missing(watch, 1)
    assert.equal([...new Set(reports)].length, 2)
  })

  it('reads many pods of a namespace with one list, and a few pods by their names', async () => {
    await optIn('few', 'many')
    for (let index = 0; index < 12; index++) await create('many', `p${index}`, pod())
    await create('few', 'alone', pod())
    const watch = start()
    await missing(watch, 13)
    await until(() => new Set(reports).size === 13)
    const whole = requests.filter(
      ({ watch, metadataOnly, path }) => !watch && !metadataOnly && path !== '/api/v1/pods',
    )
    const named = whole.filter(({ query }) => query.fieldSelector === 'metadata.name=alone')
    assert.ok(named.length >= 1)
    assert.ok(whole.length - named.length <= 2, JSON.stringify(whole))
  })

  it('warns once about more pods than it has room for, counts them, and goes on with the others', async () => {
    await optIn('few')
    for (const name of ['a', 'b', 'c', 'd']) await create('few', name, injectedPod(), ENDED)
    for (const name of ['x', 'y', 'z']) await create('few', name, pod())
    const watch = start({ known: 2, counted: 3 })
    await until(() => watch.leftOut() === 2)
    assert.equal(watch.counts().versions.get('0.1.0'), 3)
    await until(() => reports.length >= 2)
    await until(() => warnings.length > 0)
    const seen = reports.length
    await until(() => reports.length > seen)
    assert.deepEqual([warnings.length, new Set(reports).size], [1, 2])
    assert.match(warnings[0] ?? '', /more pods than the watch has room for.* injection is not affected/)
    for (const name of ['a', 'x', 'y']) await api.admin.delete('pods', name, 'few', { gracePeriodSeconds: 0 })
    for (const name of ['b', 'c', 'd', 'z'])
      await api.admin.patch('pods', name, 'few', { metadata: { labels: { n: '1' } } })
    await until(() => watch.leftOut() === 0)
    assert.equal(watch.counts().versions.get('0.1.0'), 3)
    await missing(watch, 1)
  })

  it('has the same counts after an outage in which everything changed', async () => {
    await optIn('few')
    await create('few', 'old', injectedPod(), ENDED)
    await create('few', 'lacks', pod())
    const watch = start()
    await missing(watch, 1)
    await until(() => watch.counts().versions.get('0.1.0') === 1)
    await api.cutWatches('expired')
    await api.admin.delete('pods', 'old', 'few', { gracePeriodSeconds: 0 })
    await api.admin.delete('pods', 'lacks', 'few', { gracePeriodSeconds: 0 })
    for (const name of ['n', 'm']) await create('few', name, injectedPod(), ENDED)
    await api.compact()
    await api.cutWatches('reset')
    await until(() => watch.counts().versions.get('0.1.0') === 2)
    await missing(watch, 0)
  })
})
