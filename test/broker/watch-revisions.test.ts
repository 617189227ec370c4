/** The watch's word stands against a live read that is older, or whose order is not known. */
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

/** A judgement whose API server answers when the test says so. */
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
  test('whose label is withdrawn within a second of a live read is refused at once, also to others', async () => {
    const { asked, code, namespaces } = slow()
    const first = code()
    ;(await asked())(namespace('enabled'))
    assert.equal(await first, 'enabled')
    namespaces.sink.remove(recordOf('enabled'))
    assert.equal(namespaces.get('shop'), undefined)
    const again = code(other(podOf(PEER), 'b'))
    ;(await asked())(namespace(undefined))
    assert.equal(await again, 'namespace-not-enabled', 'the answer of before is not used again')
  })

  test('whose label is withdrawn while it is read is read again', async () => {
    const { asked, code, namespaces, state } = slow()
    const answer = code()
    const stale = await asked()
    namespaces.sink.remove(recordOf('enabled'))
    stale(namespace('enabled'))
    ;(await asked())(namespace(undefined))
    assert.equal(await answer, 'namespace-not-enabled')
    assert.deepEqual([namespaces.get('shop'), state.reads], [undefined, 2])
  })

  test('whose label gets another value while it is read is what the watch says', async () => {
    const { asked, code, namespaces } = slow()
    const answer = code()
    const stale = await asked()
    namespaces.sink.upsert(recordOf('disabled'))
    stale(namespace('enabled'))
    assert.equal(await answer, 'namespace-not-enabled')
    assert.equal(namespaces.get('shop')?.injection, undefined)
  })

  test('whose permission is withdrawn while it is read has what the watch says', async () => {
    const { asked, code, namespaces } = slow()
    const answer = code()
    const stale = await asked()
    namespaces.sink.upsert(recordOf('enabled', '[]'))
    stale(namespace('enabled', '["*"]'))
    assert.equal(await answer, 'enabled')
    assert.equal(namespaces.get('shop')?.annotations[KEYS.allowedRoles], '[]')
  })

  test('that changes each time it is read is nothing to rely on: ask again', async () => {
    const { asked, code, namespaces } = slow()
    const answer = code()
    for (let round = 0; round < 2; round++) {
      const stale = await asked()
      namespaces.sink.remove(recordOf('enabled'))
      stale(namespace('enabled'))
    }
    assert.equal(await answer, 'busy')
  })

  test('that was learned is gone with a list that lacks it, and so is a read that began before the list', async () => {
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

  test('that was learned and goes is told of: what was granted by it is judged again', () => {
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

  test('that was learned counts more than the older word of the watch, for half a minute', async () => {
    const clock = fakeClock()
    const store = namespaceStore(clock)
    store.sink.upsert(recordOf('disabled'))
    store.learn(recordOf('enabled'), store.revision('shop'))
    assert.equal(store.get('shop')?.injection, 'enabled')
    await clock.advance(20_000)
    store.learn(recordOf('enabled'), store.revision('shop'))
    await clock.advance(20_000)
    assert.equal(store.get('shop')?.injection, 'enabled', 'learned again, it stays for its own time')
    await clock.advance(10_000)
    assert.equal(store.get('shop')?.injection, undefined)
  })

  test('is not learned from before the word that it is gone', () => {
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
  test('that goes while it is read is gone', async () => {
    const { asked, identify, pods } = slow()
    const answer = identify()
    const stale = await asked()
    pods.sink.remove(podOf(PEER))
    stale(pod(PEER))
    assert.equal(await answer, 'pod-unknown')
    assert.equal(pods.get('a'), undefined)
  })

  test('that changes while it is read is what the watch says', async () => {
    const { asked, identify, pods } = slow()
    const answer = identify()
    const stale = await asked()
    pods.sink.upsert(podOf(PEER, { [ROLE_KEY]: 'changed' }))
    stale(pod(PEER))
    assert.equal(await answer, 'identity-changed')
    assert.equal(pods.get('a')?.annotations[ROLE_KEY], 'changed')
  })

  test('whose address comes while it is read keeps it', async () => {
    const { asked, identify, pods } = slow()
    pods.sink.upsert(podOf('10.9.9.9'))
    const answer = identify()
    const stale = await asked()
    pods.sink.upsert(podOf(PEER))
    stale(pod('10.9.9.9'))
    assert.equal(await answer, 'ok')
    assert.deepEqual(pods.get('a')?.podIPs, [PEER])
  })

  test('that a list leaves out while it is read is read again', async () => {
    const { asked, identify, pods } = slow()
    const answer = identify()
    const stale = await asked()
    pods.sink.replace([])
    stale(pod(PEER))
    ;(await asked())(undefined)
    assert.equal(await answer, 'pod-unknown')
  })

  test('the answer to a question of before the watch’s word is not used again after it', async () => {
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

  test('is not learned from before the word that it has changed', () => {
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

describe('words of the watch', () => {
  test('differ after each word about the same, and stay through those about others', () => {
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

  test('differ after a word about all', () => {
    const revisions = revisionsOfWatch(10)
    revisions.reported('a')
    const before = [revisions.of('a'), revisions.of('b')]
    revisions.listed()
    for (const [index, key] of ['a', 'b'].entries()) assert.notEqual(revisions.of(key), before[index])
  })

  test('one that is forgotten for want of room still differs from those before it', () => {
    const revisions = revisionsOfWatch(2)
    const before = revisions.of('a')
    revisions.reported('a')
    for (const key of ['b', 'c', 'd']) revisions.reported(key)
    assert.notEqual(revisions.of('a'), before)
  })

  test('of an object told of again the last is remembered longest', () => {
    const revisions = revisionsOfWatch(2)
    for (const key of ['a', 'b', 'a', 'c']) revisions.reported(key)
    const last = revisions.of('a')
    revisions.reported('b')
    assert.equal(last, 3)
  })
})
