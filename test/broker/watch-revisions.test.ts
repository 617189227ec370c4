/** An event of the watch takes precedence over a live read that is older, or whose order is unknown. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { namespaceRecord, namespaceStore } from '../../node-guard/broker/kubernetes/namespaces.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { podStore } from '../../node-guard/broker/kubernetes/pods.ts'
import { revisionsOfWatch } from '../../node-guard/broker/kubernetes/revisions.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { judgement, PEER, ROLE_KEY } from './judgement.ts'

const namespace = (label: string | undefined, roles = '["*"]') => ({
  metadata: {
    name: 'shop',
    labels: label === undefined ? {} : { [KEYS.injection]: label },
    annotations: { [KEYS.allowedRoles]: roles },
  },
})
const recordOf = (label: string | undefined, roles?: string) =>
  namespaceRecord(namespace(label, roles)) ?? assert.fail()

const pod = (podIP: string, annotations: Record<string, string> = {}, phase = 'Running') => ({
  metadata: {
    uid: 'a',
    namespace: 'shop',
    name: 'web',
    creationTimestamp: '2026-01-01T00:00:00Z',
    annotations: { [ROLE_KEY]: 'app', ...annotations },
  },
  spec: {
    nodeName: 'node-1',
    serviceAccountName: 'default',
    initContainers: [
      {
        name: 'pod2iam-sidecar',
        restartPolicy: 'Always',
        env: [
          { name: 'POD2IAM_IDENTITY', value: 'annotation' },
          { name: 'POD2IAM_ROLE', value: 'app' },
        ],
      },
    ],
  },
  status: { phase, podIPs: [{ ip: podIP }] },
})
const podOf = (...args: Parameters<typeof pod>) => podRecord(pod(...args), ROLE_KEY) ?? assert.fail()
const other = (record: ReturnType<typeof podOf>, uid: string) => ({ ...record, uid, name: uid })

/** Identifies callers with an API server that answers when the test says so. */
function slow() {
  const waiting: ((answer: object | undefined) => void)[] = []
  const world = judgement(
    () => {
      const { promise, resolve } = Promise.withResolvers<object | undefined>()
      waiting.push(resolve)
      return promise
    },
    () => 'web',
  )
  const asked = async () => {
    for (let turn = 0; turn < 50 && waiting.length === 0; turn++) await world.clock.advance(0)
    return waiting.shift() ?? assert.fail('nothing is read')
  }
  const code = (record = podOf(PEER)) =>
    world.namespaceOf(record).then(
      ({ injection }) => String(injection),
      (error: { code: string }) => error.code,
    )
  return { ...world, asked, code, identify: () => world.code('a') }
}

describe('a namespace', () => {
  test('whose label is removed within a second after a live read is refused at once, also to other pods', async () => {
    const { asked, code, namespaces } = slow()
    const first = code()
    ;(await asked())(namespace('enabled'))
    assert.equal(await first, 'enabled')
    namespaces.sink.remove(recordOf('enabled'))
    assert.equal(namespaces.get('shop'), undefined)
    const again = code(other(podOf(PEER), 'b'))
    ;(await asked())(namespace(undefined))
    assert.equal(await again, 'namespace-not-enabled', 'the earlier answer is not used again')
  })

  test('whose label is removed while it is read is read again', async () => {
    const { asked, code, namespaces, state } = slow()
    const answer = code()
    const stale = await asked()
    namespaces.sink.remove(recordOf('enabled'))
    stale(namespace('enabled'))
    ;(await asked())(namespace(undefined))
    assert.equal(await answer, 'namespace-not-enabled')
    assert.deepEqual([namespaces.get('shop'), state.reads], [undefined, 2])
  })

  test('whose label gets another value while it is read has the value that the watch reports', async () => {
    const { asked, code, namespaces } = slow()
    const answer = code()
    const stale = await asked()
    namespaces.sink.upsert(recordOf('disabled'))
    stale(namespace('enabled'))
    assert.equal(await answer, 'namespace-not-enabled')
    assert.equal(namespaces.get('shop')?.injection, undefined)
  })

  test('whose permission is withdrawn while it is read has the permission that the watch reports', async () => {
    const { asked, code, namespaces } = slow()
    const answer = code()
    const stale = await asked()
    namespaces.sink.upsert(recordOf('enabled', '[]'))
    stale(namespace('enabled', '["*"]'))
    assert.equal(await answer, 'enabled')
    assert.equal(namespaces.get('shop')?.annotations[KEYS.allowedRoles], '[]')
  })

  test('that changes during each read gives the retryable error `busy`', async () => {
    const { asked, code, namespaces } = slow()
    const answer = code()
    for (let round = 0; round < 2; round++) {
      const stale = await asked()
      namespaces.sink.remove(recordOf('enabled'))
      stale(namespace('enabled'))
    }
    assert.equal(await answer, 'busy')
  })

  test('that was found by a live read is removed by a list without it, and a read that began before the list is repeated', async () => {
    const { asked, code, namespaces } = slow()
    const first = code()
    ;(await asked())(namespace('enabled'))
    await first
    const second = code({ ...podOf(PEER), namespace: 'late' })
    const stale = await asked()
    namespaces.sink.replace([])
    assert.equal(namespaces.get('shop'), undefined)
    stale({ metadata: { name: 'late', labels: { [KEYS.injection]: 'enabled' } } })
    ;(await asked())(undefined)
    assert.equal(await second, 'namespace-not-enabled')
  })

  test('that was found by a live read and then changes or is removed is reported to subscribers', () => {
    const changed: string[] = []
    const store = namespaceStore(fakeClock())
    store.subscribe((name) => changed.push(name))
    for (const end of [
      () => store.sink.remove(recordOf('enabled')),
      () => store.sink.replace([]),
      () => store.sink.upsert(recordOf('enabled', '[]')),
    ]) {
      store.learn(recordOf('enabled'), store.revision('shop'))
      changed.length = 0
      end()
      assert.deepEqual(changed, ['shop'])
    }
    store.sink.upsert(recordOf('enabled', '[]'))
    assert.deepEqual(changed, ['shop'], 'nothing changed')
  })

  test('that was found by a live read takes precedence over an older event of the watch for half a minute', async () => {
    const clock = fakeClock()
    const store = namespaceStore(clock)
    store.sink.upsert(recordOf('disabled'))
    store.learn(recordOf('enabled'), store.revision('shop'))
    assert.equal(store.get('shop')?.injection, 'enabled')
    await clock.advance(20_000)
    store.learn(recordOf('enabled'), store.revision('shop'))
    await clock.advance(20_000)
    assert.equal(store.get('shop')?.injection, 'enabled', 'a later read is valid for its own time')
    await clock.advance(10_000)
    assert.equal(store.get('shop')?.injection, undefined)
  })

  test('is not taken from a live read that began before the watch reported its removal', () => {
    const store = namespaceStore(fakeClock())
    for (const said of [
      () => store.sink.remove(recordOf('enabled')),
      () => store.sink.replace([]),
      () => store.sink.upsert(recordOf('disabled')),
    ]) {
      const before = store.revision('shop')
      said()
      store.learn(recordOf('enabled'), before)
      assert.equal(store.get('shop')?.injection, undefined)
    }
  })
})

describe('a pod', () => {
  test('that is deleted while it is read is unknown', async () => {
    const { asked, identify, pods } = slow()
    const answer = identify()
    const stale = await asked()
    pods.sink.remove(podOf(PEER))
    stale(pod(PEER))
    assert.equal(await answer, 'pod-unknown')
    assert.equal(pods.get('a'), undefined)
  })

  test('that changes while it is read is as the watch reports it', async () => {
    const { asked, identify, pods } = slow()
    const answer = identify()
    const stale = await asked()
    pods.sink.upsert(podOf(PEER, { [ROLE_KEY]: 'changed' }))
    stale(pod(PEER))
    assert.equal(await answer, 'identity-changed')
    assert.equal(pods.get('a')?.annotations[ROLE_KEY], 'changed')
  })

  test('whose address is reported while it is read keeps that address', async () => {
    const { asked, identify, pods } = slow()
    pods.sink.upsert(podOf('10.9.9.9'))
    const answer = identify()
    const stale = await asked()
    pods.sink.upsert(podOf(PEER))
    stale(pod('10.9.9.9'))
    assert.equal(await answer, 'ok')
    assert.deepEqual(pods.get('a')?.podIPs, [PEER])
  })

  test('that is missing in a list while it is read is read again', async () => {
    const { asked, identify, pods } = slow()
    const answer = identify()
    const stale = await asked()
    pods.sink.replace([])
    stale(pod(PEER))
    ;(await asked())(undefined)
    assert.equal(await answer, 'pod-unknown')
  })

  test('is read again after an event of the watch, although it was read just before', async () => {
    const { asked, identify, pods } = slow()
    pods.sink.upsert(podOf('10.9.9.9'))
    const first = identify()
    ;(await asked())(pod('10.9.9.9'))
    assert.equal(await first, 'peer-address-mismatch')
    pods.sink.upsert(podOf('10.9.9.8'))
    const second = identify()
    ;(await asked())(pod(PEER))
    assert.equal(await second, 'ok')
  })

  test('is not taken from a live read that began before the watch reported its change', () => {
    const store = podStore((one) => podRecord(one, ROLE_KEY))
    for (const said of [
      () => store.sink.upsert(podOf('10.0.0.2')),
      () => store.sink.replace([podOf('10.0.0.2')]),
    ]) {
      const before = store.revision('a')
      said()
      store.learn(podOf('10.0.0.3'), before)
      assert.deepEqual(store.get('a')?.podIPs, ['10.0.0.2'])
    }
    store.learn(podOf('10.0.0.4'), store.revision('a'))
    assert.deepEqual(store.get('a')?.podIPs, ['10.0.0.4'])
  })
})

describe('revisions of the watch', () => {
  test('change with each event about the object, and not with events about others', () => {
    const revisions = revisionsOfWatch(10)
    const before = revisions.of('a')
    revisions.reported('b')
    assert.equal(revisions.of('a'), before)
    revisions.reported('a')
    const said = revisions.of('a')
    assert.notEqual(said, before)
    revisions.reported('a')
    assert.notEqual(revisions.of('a'), said)
  })

  test('change for all objects with a list', () => {
    const revisions = revisionsOfWatch(10)
    revisions.reported('a')
    const before = [revisions.of('a'), revisions.of('b')]
    revisions.listed()
    for (const [index, key] of ['a', 'b'].entries()) assert.notEqual(revisions.of(key), before[index])
  })

  test('change also for an object whose own revision was evicted', () => {
    const revisions = revisionsOfWatch(2)
    const before = revisions.of('a')
    revisions.reported('a')
    for (const key of ['b', 'c', 'd']) revisions.reported(key)
    assert.notEqual(revisions.of('a'), before)
  })

  test('are evicted in the order of their last events', () => {
    const revisions = revisionsOfWatch(2)
    for (const key of ['a', 'b', 'a', 'c']) revisions.reported(key)
    const last = revisions.of('a')
    revisions.reported('b')
    assert.equal(last, 3)
  })
})
