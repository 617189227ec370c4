/** The watch over opted-in pods: what it finds, and how it reports it, against an API server. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { type Clock, systemClock } from '../../common/clock.ts'
import { KEYS } from '../../common/keys.ts'
import { type Kube, KubeError } from '../../common/kube/client.ts'
import type { EventOutcome } from '../../common/kube/events.ts'
import { reflect } from '../../common/kube/reflector.ts'
import { apiServer } from '../../injector/kubernetes/access.ts'
import { injectorMetrics } from '../../injector/metrics.ts'
import { finding, watchedPod } from '../../injector/pod-watch/pod.ts'
import { podEvents } from '../../injector/pod-watch/pod-events.ts'
import { watchPods } from '../../injector/pod-watch/pod-watch.ts'
import { watchedPods } from '../../injector/pod-watch/pods.ts'
import { readyzCode } from '../../injector/pod-watch/readyz-code.ts'
import { roundRobin } from '../../injector/pod-watch/round-robin.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { fakeClock, fastClock } from '../support/fake-clock.ts'
import { freePort } from '../support/free-port.ts'
import { listening } from '../support/listening.ts'
import { silentLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import { applyPatch, type Dict, decide, namespace, opsOf, pod, ROLE, settings } from './fixtures.ts'

/** The time between two sweeps over all pods. */
const SWEEP_MS = 5000

function injectedPod(): Dict {
  return applyPatch(pod(), opsOf(decide(pod(), namespace(), settings())))
}
const running = (startedAt: number) => ({
  phase: 'Pending',
  podIP: '10.0.0.7',
  initContainerStatuses: [
    { name: 'pod2iam-gate', state: { running: { startedAt: new Date(startedAt).toISOString() } } },
  ],
})

const ENDED = {
  initContainerStatuses: [{ name: 'pod2iam-gate', state: { terminated: { exitCode: 0 } } }],
}

describe('the finding about a pod', () => {
  const NOW = Date.UTC(2026, 0, 1)
  const stored = (object: Dict, status: Dict = {}, metadata: Dict = {}) => ({
    ...object,
    metadata: { ...(object.metadata as Dict), uid: 'u', namespace: 'shop', ...metadata },
    status,
  })
  const rows: readonly [what: string, object: unknown, expected: string | undefined][] = [
    ['asks and has no sidecar', stored(pod()), 'InjectionMissing'],
    [
      'asks for metadata and has no sidecar',
      stored(pod({}, { [KEYS.role]: undefined, [KEYS.inject]: 'metadata' })),
      'InjectionMissing',
    ],
    [
      'has a container of the sidecar’s name that is no native sidecar',
      stored(pod({ initContainers: [{ name: 'pod2iam-sidecar' }] })),
      'InjectionMissing',
    ],
    ['asks and opted out', stored(pod({}, { [KEYS.inject]: 'false' })), undefined],
    ['does not ask', stored(pod({}, { [KEYS.role]: undefined })), undefined],
    ['is being deleted', stored(pod(), {}, { deletionTimestamp: '2026-01-01T00:00:00Z' }), undefined],
    ['is a mirror of a static pod', stored(pod({}, { 'kubernetes.io/config.mirror': 'x' })), undefined],
    ['is on the host network, where the operator allows that', stored(pod({ hostNetwork: true })), undefined],
    ['has its sidecar', stored(injectedPod()), undefined],
    ['has a gate that runs for 30 s', stored(injectedPod(), running(NOW - 30_000)), undefined],
    ['has a gate that runs for 31 s', stored(injectedPod(), running(NOW - 31_000)), 'GateWaiting'],
    [
      'has such a gate and is being deleted',
      stored(injectedPod(), running(NOW - 31_000), { deletionTimestamp: '2026-01-01T00:00:00Z' }),
      undefined,
    ],
  ]
  for (const [what, object, expected] of rows)
    it(`is ${expected ?? 'none'} where it ${what}`, () => {
      const watched = watchedPod(object, KEYS.role) ?? assert.fail('no pod')
      assert.equal(finding(watched, 'enabled', NOW), expected)
      assert.equal(finding(watched, undefined, NOW), undefined, 'in a namespace that is not opted in')
    })

  it('is none for an object that is no pod, without an exception', () => {
    for (const object of [undefined, null, 1, [], {}, { metadata: [] }, { metadata: { name: 1, uid: 'u' } }])
      assert.equal(watchedPod(object, KEYS.role), undefined)
    for (const status of [
      1,
      { initContainerStatuses: 'x' },
      { initContainerStatuses: [null, { name: 'pod2iam-gate', state: 1 }] },
    ])
      assert.equal(watchedPod({ ...stored(pod()), status }, KEYS.role)?.gateSince, undefined)
  })

  describe('that starts in one stage', () => {
    const at = (secondsAgo: number) => new Date(NOW - secondsAgo * 1000).toISOString()
    const alone = (spec: Dict = {}) => {
      const given = pod(spec, { [KEYS.redirect]: 'env' })
      return applyPatch(given, opsOf(decide(given, namespace(), settings())))
    }
    const since = (status: Dict, object = alone(), metadata: Dict = {}) =>
      watchedPod(stored(object, status, metadata), KEYS.role)?.gateSince
    const condition = (type: string, status: string, secondsAgo: number) => ({
      type,
      status,
      lastTransitionTime: at(secondsAgo),
    })
    const init = (name: string, state: Dict, more: Dict = {}) => ({ name, state, ...more })
    const waiting = { waiting: { reason: 'PodInitializing' } }
    const sidecar = (state: Dict = waiting, more: Dict = {}) =>
      init('pod2iam-sidecar', state, { started: false, ...more })
    /** The status while the hook runs for the first time: the kubelet wrote it before it created the container. */
    const unseen = (secondsAgo: number, inits: Dict[] = [sidecar()]) => ({
      phase: 'Pending',
      conditions: [
        condition('PodReadyToStartContainers', 'False', secondsAgo),
        condition('Initialized', 'False', secondsAgo),
      ],
      initContainerStatuses: inits,
    })
    const ago = (seconds: number) => NOW - seconds * 1000

    it('is none before the kubelet has accepted it, once it has started, and while it is being deleted', () => {
      assert.equal(since({}), undefined)
      assert.equal(since({ conditions: [condition('PodScheduled', 'True', 99)] }), undefined)
      assert.equal(since(unseen(99, [sidecar({ running: {} }, { started: true })])), undefined)
      assert.equal(since(unseen(99), alone(), { deletionTimestamp: at(1) }), undefined)
    })

    it('counts the wait from a minute after the kubelet accepted it, since mounts and image pulls look the same', () => {
      assert.equal(since(unseen(99)), ago(39))
      const watched = watchedPod(stored(alone(), unseen(91)), KEYS.role) ?? assert.fail()
      assert.equal(finding(watched, 'enabled', NOW), 'GateWaiting')
      assert.equal(finding({ ...watched, gateSince: ago(29) }, 'enabled', NOW), undefined)
      assert.equal(watched.startsAlone, true)
    })

    it('counts the wait from the start of its sidecar where that is known, after a restart of the sidecar or the kubelet', () => {
      const seen = (state: Dict, more: Dict = {}) => ({
        ...unseen(99, [sidecar(state, more)]),
        podIP: '10.0.0.7',
        conditions: [
          condition('PodReadyToStartContainers', 'True', 35),
          condition('Initialized', 'False', 99),
        ],
      })
      const terminated = { exitCode: 1, startedAt: at(95), finishedAt: at(35) }
      assert.equal(since(seen({ terminated })), ago(95))
      assert.equal(since(seen(waiting, { lastState: { terminated } })), ago(95))
      assert.equal(since(seen({ running: { startedAt: at(40) } })), ago(40))
    })

    it('counts the wait from the end of the init containers in front of its sidecar', () => {
      const behind = alone({ initContainers: [{ name: 'istio-init' }, { name: 'istio-proxy' }] })
      const done = { terminated: { exitCode: 0, finishedAt: at(80) } }
      const proxy = (started: boolean) => init('istio-proxy', { running: { startedAt: at(70) } }, { started })
      const of = (...inits: Dict[]) => since(unseen(99, inits), behind)
      assert.equal(of(init('istio-init', { running: { startedAt: at(99) } }), sidecar()), undefined)
      assert.equal(of(init('istio-init', done), init('istio-proxy', waiting), sidecar()), undefined)
      assert.equal(of(init('istio-init', done), proxy(false), sidecar()), undefined)
      assert.equal(of(init('istio-init', done), proxy(true), sidecar()), ago(10))
    })

    it('is none beside a running app if only its sidecar is restarted', () => {
      const status = {
        ...unseen(99, [sidecar({ waiting: { reason: 'CrashLoopBackOff' } })]),
        conditions: [
          condition('Initialized', 'True', 500),
          condition('PodReadyToStartContainers', 'True', 500),
        ],
        containerStatuses: [{ name: 'app', state: { running: { startedAt: at(400) } } }],
      }
      assert.equal(since(status), undefined)
    })

    it('counts the wait again after its node has rebooted', () => {
      const old = { terminated: { exitCode: 255, startedAt: at(900), finishedAt: at(120) } }
      const status = {
        phase: 'Running',
        conditions: [
          condition('Initialized', 'True', 900),
          condition('PodReadyToStartContainers', 'False', 100),
        ],
        initContainerStatuses: [sidecar(waiting, { lastState: old })],
        containerStatuses: [{ name: 'app', state: { waiting: {} }, lastState: old }],
      }
      assert.equal(since(status), ago(40))
    })

    it('does not throw for a malformed status', () => {
      for (const status of [
        { conditions: [null, 1], initContainerStatuses: [null], containerStatuses: 'x' },
        { conditions: [{ type: 'Initialized', status: 'False', lastTransitionTime: 'never' }] },
        { ...unseen(99), initContainerStatuses: [{ name: 'pod2iam-sidecar', state: 1, lastState: [] }] },
      ])
        assert.ok([undefined, ago(39)].includes(since(status)))
    })
  })

  for (const [status, version] of [
    ['{"version":"0.1.0"}', '0.1.0'],
    ['{"version":"1.2.3-rc.1"}', '1.2.3-rc.1'],
    ['{"version":"evil\\n"}', 'unknown'],
    ['{"version":7}', 'unknown'],
    ['[', 'unknown'],
  ] as const)
    it(`includes version ${version} where the status annotation is ${status}`, () =>
      assert.equal(watchedPod(stored(pod({}, { [KEYS.status]: status })), KEYS.role)?.version, version))

  it('is kept only for relevant pods, up to a bound, and dropped for those that stop asking', () => {
    const gone: string[] = []
    const pods = watchedPods(KEYS.role, (uid) => gone.push(uid), 2)
    const watched = (uid: string, object: Dict) =>
      watchedPod(stored(object, {}, { uid }), KEYS.role) ?? assert.fail('no pod')
    for (const uid of ['a', 'b', 'c']) pods.sink.upsert(watched(uid, pod()))
    pods.sink.upsert(watched('d', pod({}, { [KEYS.role]: undefined })))
    assert.deepEqual([[...pods.all()].map(({ uid }) => uid), pods.leftOut()], [['a', 'b'], 1])
    pods.sink.upsert(watched('a', pod({}, { [KEYS.role]: undefined })))
    pods.sink.replace([watched('c', pod())])
    assert.deepEqual([[...pods.all()].map(({ uid }) => uid), pods.leftOut()], [['c'], 0])
    assert.deepEqual(gone, ['a', 'b'])
  })
})

describe('the first list of a large cluster', () => {
  it('is requested in large pages, and keeps only as many pods as the bound', async () => {
    const limits: number[] = []
    const kept: number[] = []
    const asking = (index: number) => ({
      metadata: {
        uid: `u${index}`,
        namespace: 'shop',
        name: `p${index}`,
        annotations: index % 2 === 0 ? { [KEYS.role]: ROLE } : {},
      },
    })
    const kube = {
      get: async (path: string, query: Readonly<Record<string, string>> = {}) => {
        if (path !== '/api/v1/pods') return { items: [], metadata: { resourceVersion: '1' } }
        const [from, limit] = [Number(query.continue ?? 0), Number(query.limit)]
        limits.push(limit)
        const items = Array.from({ length: limit }, (_, index) => asking(from + index))
        return { items, metadata: { resourceVersion: '1', ...(from < 500 ? { continue: '500' } : {}) } }
      },
      stream: async function* () {},
    }
    const controller = new AbortController()
    const by = { kube, clock: systemClock, log: silentLog, signal: controller.signal }
    const pods = watchedPods(KEYS.role, () => {}, 300)
    const { replace } = pods.sink
    const sink = {
      ...pods.sink,
      replace: (all: Parameters<typeof replace>[0]) => {
        kept.push(all.length)
        replace(all)
      },
    }
    reflect({ path: '/api/v1/pods', query: {}, sink, page: 500 }, by)
    await until(() => kept.length > 0)
    assert.deepEqual([kept, pods.leftOut(), [...pods.all()].length], [[300], 200, 300])
    limits.length = 0
    watchPods(by, KEYS.role, { report() {} }, async () => '')
    // Two pages for the pods that start, and two for those that have started.
    await until(() => limits.length === 4)
    controller.abort()
    assert.deepEqual(limits, [500, 500, 500, 500])
  })
})

describe('Events on pods', () => {
  const POD = { uid: 'u', namespace: 'shop', name: 'orders' }
  function world(answer: () => Promise<unknown> = async () => ({})) {
    const clock = fakeClock()
    const bodies: Dict[] = []
    const outcomes: EventOutcome[] = []
    const kube: Pick<Kube, 'send'> = {
      send: (_method, _path, body) => {
        bodies.push(body as Dict)
        return answer()
      },
    }
    const events = podEvents({ kube, clock, log: silentLog }, 'replica-1', (outcome) =>
      outcomes.push(outcome),
    )
    return { events, bodies, outcomes, pass: clock.advanceSync }
  }

  it('are sent once, and again only when the API server has deleted them', async () => {
    const { events, bodies, pass } = world()
    for (let minute = 0; minute < 60; minute++, pass(60_000)) events.report(POD, 'GateWaiting', 'x')
    assert.equal(bodies.length, 1)
    pass(120_000)
    events.report(POD, 'GateWaiting', 'x')
    assert.equal(bodies.length, 2)
  })

  it('have the same name from every replica, so that the second one finds that the Event exists', async () => {
    const first = world()
    const second = world(() => Promise.reject(new KubeError(409, 'exists')))
    first.events.report(POD, 'GateWaiting', 'x')
    second.events.report(POD, 'GateWaiting', 'x')
    assert.deepEqual(first.bodies[0]?.metadata, second.bodies[0]?.metadata)
    await until(() => second.outcomes.length > 0)
    assert.deepEqual([first.outcomes, second.outcomes], [['sent'], ['there-already']])
  })

  it('that could not be written are sent again', async () => {
    const { events, bodies, outcomes } = world(() => Promise.reject(new KubeError(503, 'away')))
    events.report(POD, 'GateWaiting', 'x')
    await until(() => outcomes.length > 0)
    events.report(POD, 'GateWaiting', 'x')
    assert.equal(bodies.length, 2)
  })

  it('are limited for each namespace and for all, whatever pods do', () => {
    const { events, bodies, outcomes } = world()
    const pods = (namespace: string) =>
      Array.from({ length: 500 }, (_, index) => ({ ...POD, namespace, uid: `${namespace}-${index}` }))
    for (const pod of pods('crowd')) events.report(pod, 'GateWaiting', 'x')
    assert.equal(bodies.length, 10, 'of one namespace')
    for (const namespace of ['a', 'b', 'c'])
      for (const pod of pods(namespace)) events.report(pod, 'GateWaiting', 'x')
    assert.equal(bodies.length, 25, 'of all')
    assert.equal(outcomes.filter((outcome) => outcome === 'limited').length, 1975)
  })

  it('have a note no longer than Kubernetes allows', () => {
    const { events, bodies } = world()
    events.report(POD, 'GateWaiting', 'x'.repeat(5000))
    assert.equal(String(bodies[0]?.note).length, 1024)
  })
})

describe('the turns of waiting pods', () => {
  const of = (namespace: string, count: number) =>
    Array.from({ length: count }, (_, index) => ({ namespace, id: `${namespace}${index}` }))
  const ids = (all: readonly { id: string }[]) => all.map(({ id }) => id).join(' ')

  it('alternate between the namespaces, and keep the order within each', () => {
    const all = [...of('a', 3), ...of('b', 1), ...of('c', 2)]
    assert.equal(ids(roundRobin(all, new Map())), 'a0 b0 c0 a1 c1 a2')
  })

  it('begin with the namespace that has waited longest', () => {
    const last = new Map([
      ['a', 2],
      ['b', 1],
    ])
    assert.equal(ids(roundRobin([...of('a', 1), ...of('b', 1), ...of('c', 1)], last)), 'c0 b0 a0')
  })
})

describe('the code of a sidecar that is not ready', () => {
  const answered = async (body: string) => {
    const server = createServer((_request, response) => response.writeHead(503).end(body))
    const port = await listening(server)
    return readyzCode('127.0.0.1', port, 60_000).finally(() => server.close())
  }
  for (const [body, code] of [
    ['{"ready":false,"code":"role-not-allowed"}', 'role-not-allowed'],
    ['{"code":"arn:aws:iam::1:role/x"}', 'sidecar-unreadable'],
    [`{"code":"${'x'.repeat(41)}"}`, 'sidecar-unreadable'],
    ['{"code":7}', 'sidecar-unreadable'],
    ['<html>', 'sidecar-unreadable'],
    ['x'.repeat(5000), 'sidecar-unreachable'],
  ] as const)
    it(`is ${code} where it answers ${body.slice(0, 50)}`, async () =>
      assert.equal(await answered(body), code))

  it('is sidecar-unreachable where nothing answers, or where the address is none', async () => {
    assert.equal(await readyzCode('127.0.0.1', await freePort()), 'sidecar-unreachable')
    for (const ip of ['', 'example.com', '127.0.0.1/x'])
      assert.equal(await readyzCode(ip), 'sidecar-unreachable')
  })
})

describe('the watch', () => {
  let directory: string
  let api: ApiServer
  let kube: Kube
  const stopping: AbortController[] = []
  /** The milliseconds by which the clock is ahead of the machine's; its timers are a hundred times as fast. */
  let ahead = 0
  let sweeps = 0
  const fast = fastClock(100)
  const clock: Clock = {
    now: () => fast.now() + ahead,
    after: (milliseconds, action) => {
      if (milliseconds === SWEEP_MS) sweeps++
      return fast.after(milliseconds, action)
    },
  }
  const codes = new Map<string, string>()

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2i-'))
    api = await ApiServer.start({ directory, controllers: false })
    kube = (await apiServer(await api.kubeconfig())).background
    for (const [name, mode] of [
      ['shop', 'enabled'],
      ['web', undefined],
    ] as const)
      await api.admin.create({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name, labels: mode === undefined ? {} : { [KEYS.injection]: mode } },
      })
  })
  afterEach(() => {
    for (const one of stopping.splice(0)) one.abort()
    ahead = 0
  })
  after(async () => {
    kube?.close()
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  function replica(
    ask = async (ip: string) => codes.get(ip) ?? 'sidecar-unreachable',
    untouched: ReadonlySet<string> = new Set(),
  ) {
    const controller = new AbortController()
    stopping.push(controller)
    const outcomes: EventOutcome[] = []
    const by = { kube, clock, log: silentLog, signal: controller.signal }
    const events = podEvents(by, 'replica', (outcome) => outcomes.push(outcome))
    const watch = watchPods(by, KEYS.role, events, ask, untouched)
    return { watch, outcomes }
  }
  const create = async (name: string, where: string, object: Dict, status?: Dict) => {
    const metadata = { ...(object.metadata as Dict), name, namespace: where }
    await api.admin.create({ ...object, metadata } as unknown as KubeObject)
    if (status) await api.admin.patch('pods', name, where, { status }, { subresource: 'status' })
  }
  const eventsOn = async (name: string) => {
    const { items } = await api.admin.list<KubeObject & Dict>('events.events.k8s.io', { namespace: 'shop' })
    return items.filter(({ regarding }) => (regarding as Dict).name === name)
  }

  it('reports once, from two replicas, that an annotated pod of an opted-in namespace has no sidecar', async () => {
    await create('before', 'shop', pod())
    const [one, other] = [replica(), replica()]
    await until(() => one.outcomes.length > 0 && other.outcomes.length > 0)
    assert.deepEqual([...one.outcomes, ...other.outcomes].sort(), ['sent', 'there-already'])
    await create('later', 'shop', pod())
    await create('elsewhere', 'web', pod())
    await until(async () => (await eventsOn('later')).length > 0)
    const [event, ...more] = await eventsOn('before')
    assert.equal(more.length, 0)
    assert.equal(event?.reason, 'InjectionMissing')
    assert.match(
      String(event?.note),
      /has no pod2iam-sidecar.* before namespace shop was opted in.* delete it/,
    )
    // The other replica may have reported it, while the watch of this one is still behind.
    await until(() => one.watch.counts().findings.InjectionMissing === 2)
    assert.equal(one.watch.counts().findings.GateWaiting, 0)
    await api.admin.patch('namespaces', 'web', undefined, {
      metadata: { labels: { [KEYS.injection]: 'all' } },
    })
    await until(() => one.watch.counts().findings.InjectionMissing === 3)
    for (const [name, where] of [
      ['before', 'shop'],
      ['later', 'shop'],
      ['elsewhere', 'web'],
    ] as const)
      await api.admin.delete('pods', name, where, { gracePeriodSeconds: 0 })
    await until(() => one.watch.counts().findings.InjectionMissing === 0)
  })

  it('does not advise to delete a pod whose successor would not be injected either', async () => {
    await create('never', 'shop', pod())
    replica(undefined, new Set(['shop']))
    await until(async () => (await eventsOn('never')).length > 0)
    const [event] = await eventsOn('never')
    assert.equal(event?.reason, 'InjectionMissing')
    assert.match(String(event?.note), /the injector ignores namespace shop, regardless of its labels/)
    assert.doesNotMatch(String(event?.note), /delete/)
    await api.admin.delete('pods', 'never', 'shop', { gracePeriodSeconds: 0 })
  })

  it('reports why a gate waits, with the sidecar’s code, and counts sidecars by release', async () => {
    codes.set('10.0.0.7', 'role-not-allowed')
    await create('waits', 'shop', injectedPod(), running(Date.now()))
    const { watch } = replica()
    await until(() => watch.counts().versions.get('0.1.0') === 1)
    assert.equal((await eventsOn('waits')).length, 0, 'not before 30 seconds')
    ahead = 32_000
    await until(async () => (await eventsOn('waits')).length > 0)
    const [event] = await eventsOn('waits')
    assert.equal(event?.reason, 'GateWaiting')
    assert.match(
      String(event?.note),
      /the sidecar says role-not-allowed: kubectl logs waits -n shop -c pod2iam-gate/,
    )
    assert.doesNotMatch(String(event?.note), new RegExp(ROLE))
    assert.equal(watch.counts().findings.GateWaiting, 1)

    codes.set('10.0.0.7', 'node-unguarded')
    ahead = 120_000
    await until(async () => (await eventsOn('waits')).length === 2)

    codes.set('10.0.0.7', 'self-test-pending')
    ahead = 240_000
    await until(async () => (await eventsOn('waits')).length === 3)
    assert.ok(
      (await eventsOn('waits')).some(({ note }) =>
        /look at the node guard there: kubectl logs/.test(String(note)),
      ),
    )

    const metrics = injectorMetrics()
    metrics.podWatch(watch)
    const text = await metrics.text()
    assert.match(text, /pod2iam_injector_sidecars\{version="0\.1\.0"\} 1\n/)
    assert.match(text, /pod2iam_injector_pod_findings\{finding="GateWaiting"\} 1\n/)
    assert.match(text, /pod2iam_injector_watch_age_seconds\{watch="pods"\} /)
    await api.admin.patch('pods', 'waits', 'shop', { status: ENDED }, { subresource: 'status' })
    await until(() => watch.counts().findings.GateWaiting === 0)
  })

  it('reports about a pod without a gate that its start hook runs, and the sidecar’s code once it can be asked', async () => {
    const given = pod({}, { [KEYS.redirect]: 'env' })
    const object = applyPatch(given, opsOf(decide(given, namespace(), settings())))
    const taken = new Date(Date.now() - 100_000).toISOString()
    const sidecar = {
      name: 'pod2iam-sidecar',
      ready: false,
      started: false,
      restartCount: 0,
      image: 'x',
      imageID: '',
    }
    const pending = {
      phase: 'Pending',
      conditions: [{ type: 'Initialized', status: 'False', lastTransitionTime: taken }],
      initContainerStatuses: [{ ...sidecar, state: { waiting: { reason: 'PodInitializing' } } }],
    }
    await create('alone', 'shop', object, pending)
    let asked = 0
    const { watch } = replica(async () => {
      asked++
      return 'block-pending'
    })
    await until(async () => (await eventsOn('alone')).length > 0)
    const [first] = await eventsOn('alone')
    assert.equal(first?.reason, 'GateWaiting')
    assert.match(
      String(first?.note),
      /^pod2iam-sidecar has been starting for more than 30 seconds, .*has not reported the pod's address.*kubectl logs alone -n shop -c pod2iam-sidecar shows its log when/,
    )
    assert.doesNotMatch(String(first?.note), /pod2iam-gate/)
    assert.equal(asked, 0, 'no sidecar is asked without an address')
    assert.equal(watch.counts().findings.GateWaiting, 1)

    const terminated = { exitCode: 1, startedAt: taken, finishedAt: taken }
    const restarted = {
      podIP: '10.0.0.9',
      podIPs: [{ ip: '10.0.0.9' }],
      initContainerStatuses: [
        { ...sidecar, restartCount: 1, state: { waiting: { reason: 'x' } }, lastState: { terminated } },
      ],
    }
    await api.admin.patch('pods', 'alone', 'shop', { status: restarted }, { subresource: 'status' })
    ahead = 62_000
    await until(async () => (await eventsOn('alone')).length === 2)
    const notes = (await eventsOn('alone')).map(({ note }) => String(note))
    assert.ok(
      notes.some((note) => /the sidecar says block-pending, so it has not seen .* --previous$/.test(note)),
      notes.join('\n'),
    )
    await api.admin.delete('pods', 'alone', 'shop', { gracePeriodSeconds: 0 })
    await until(() => watch.counts().findings.GateWaiting === 0)
  })

  it('does not report a gate that has ended while the sidecar was asked', async () => {
    await create('ends', 'shop', injectedPod(), running(Date.now() - 60_000))
    let asked = 0
    const { watch, outcomes } = replica(async () => {
      asked++
      await api.admin.patch('pods', 'ends', 'shop', { status: ENDED }, { subresource: 'status' })
      await until(() => watch.counts().findings.GateWaiting === 0)
      return 'busy'
    })
    await until(() => asked > 0 && watch.counts().findings.GateWaiting === 0)
    await create('later-still', 'shop', pod())
    await until(() => outcomes.length > 0)
    assert.equal((await eventsOn('ends')).length, 0)
    await api.admin.delete('pods', 'later-still', 'shop', { gracePeriodSeconds: 0 })
  })

  it('asks each waiting sidecar once a minute, and only a few at the same time', async () => {
    const names = Array.from({ length: 40 }, (_, index) => `many-${index}`)
    for (const name of names) await create(name, 'shop', injectedPod(), running(Date.now() - 60_000))
    let asked = 0
    const { promise: released, resolve: release } = Promise.withResolvers<string>()
    const { watch } = replica(() => {
      asked++
      return released
    })
    const someSweeps = () => {
      const goal = sweeps + 5
      return until(() => sweeps >= goal)
    }
    await until(() => watch.counts().findings.GateWaiting >= 40)
    await someSweeps()
    assert.equal(asked, 32)
    release('busy')
    await until(() => asked >= 40)
    await someSweeps()
    assert.equal(asked, 40)
    ahead = 61_000
    await until(() => asked >= 80)
    await someSweeps()
    assert.equal(asked, 80)
    for (const name of names) await api.admin.delete('pods', name, 'shop', { gracePeriodSeconds: 0 })
    await until(() => watch.counts().findings.GateWaiting === 0)
  })

  it('does not let the many waiting gates of one namespace delay those of another', async () => {
    const still = fakeClock(Date.parse('2026-01-01T01:00:00Z'))
    const gate = { name: 'pod2iam-gate', state: { running: { startedAt: '2026-01-01T00:00:00Z' } } }
    const waiting = (namespace: string, index: number) => ({
      ...injectedPod(),
      status: { podIP: '10.0.0.1', initContainerStatuses: [gate] },
      metadata: { uid: `${namespace}-${index}`, namespace, name: `pod-${index}` },
    })
    const items = [...Array.from({ length: 400 }, (_, index) => waiting('crowd', index)), waiting('shop', 0)]
    const namespaces = ['crowd', 'shop'].map((name) => ({
      metadata: { name, labels: { [KEYS.injection]: 'enabled' } },
    }))
    const kube: Pick<Kube, 'get' | 'stream'> = {
      get: async (path) => ({
        metadata: { resourceVersion: '1' },
        items: path.endsWith('/namespaces') ? namespaces : items,
      }),
      stream: async function* (_path, _query, signal) {
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
      },
    }
    const controller = new AbortController()
    const reports: string[] = []
    const events = { report: ({ namespace }: { namespace: string }) => reports.push(namespace) }
    const by = { kube, clock: still, log: silentLog, signal: controller.signal }
    const slow = () => new Promise<string>((resolve) => still.after(1000, () => resolve('sts-denied')))
    const watch = watchPods(by, KEYS.role, events, slow)
    await until(() => watch.counts().findings.GateWaiting === items.length)
    for (let second = 0; second < 130; second++) await still.advance(1000)
    controller.abort()
    assert.ok(reports.length > 400)
    assert.ok(reports.filter((namespace) => namespace === 'shop').length >= 2, 'once a minute')
    assert.ok(reports.indexOf('shop') < 32, 'in the first turn')
  })

  it('does nothing more once it is stopped', () => {
    const due: (() => void)[] = []
    const still: Clock = {
      now: () => 0,
      after: (milliseconds, action) => {
        if (milliseconds === SWEEP_MS) due.push(action)
        return () => {}
      },
    }
    const silent = { get: () => new Promise<never>(() => {}), stream: async function* () {} }
    const controller = new AbortController()
    const by = { kube: silent, clock: still, log: silentLog, signal: controller.signal }
    watchPods(by, KEYS.role, { report() {} }, async () => '')
    due.shift()?.()
    assert.equal(due.length, 1)
    controller.abort()
    due.shift()?.()
    assert.equal(due.length, 0)
  })

  it('bounds the number of versions that it distinguishes', async () => {
    for (let index = 0; index < 25; index++) {
      const object = injectedPod()
      const annotations = { [KEYS.status]: `{"version":"0.0.${index}"}` }
      await create(`v${index}`, 'shop', { ...object, metadata: { annotations } })
    }
    const { watch } = replica()
    await until(() => (watch.counts().versions.get('other') ?? 0) >= 5)
    assert.equal(watch.counts().versions.size, 21)
  })
})
