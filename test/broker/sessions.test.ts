import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SessionRequest } from '../../node-guard/broker/authorize/entitlement.ts'
import type { Assume } from '../../node-guard/broker/aws/assume.ts'
import { stsProblem } from '../../node-guard/broker/aws/explain.ts'
import { type Grant, sessionKey } from '../../node-guard/broker/sessions/entries.ts'
import { stsQueue } from '../../node-guard/broker/sessions/queue.ts'
import { sessionStore } from '../../node-guard/broker/sessions/sessions.ts'
import { fakeClock } from '../support/fake-clock.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

const request = (over: Partial<SessionRequest> = {}): SessionRequest => ({
  roleArn: 'arn:aws:iam::111111111111:role/app',
  externalId: undefined,
  sessionName: 'shop.app',
  tags: [],
  ...{ sourceIdentity: undefined, policyArns: [] },
  durationSeconds: 3600,
  ...over,
})
const grant = (uid: string, over: Partial<SessionRequest> = {}, namespace = 'shop'): Grant => ({
  pod: { uid, namespace, name: `pod-${uid}` },
  request: request(over),
})
const denied = Object.assign(new Error('not authorized'), {
  name: 'AccessDenied',
  $metadata: { httpStatusCode: 403 },
})
const throttled = Object.assign(new Error('Rate exceeded'), {
  name: 'Throttling',
  $metadata: { httpStatusCode: 400 },
})

function world(scope: 'pod' | 'role' = 'pod', concurrency = 10) {
  const clock = fakeClock()
  const calls: { request: SessionRequest; at: number; token?: string | undefined }[] = []
  const state = {
    fail: undefined as unknown,
    hold: undefined as Promise<void> | undefined,
    permitted: (_grant: Grant) => true,
    life: HOUR,
  }
  const outcomes: string[] = []
  const reasons: string[] = []
  const assume: Assume = async (asked, _isWanted, webIdentity) => {
    const number = calls.push({ request: asked, at: clock.now(), token: webIdentity?.token })
    await state.hold
    if (state.fail) throw state.fail
    return {
      accessKeyId: `AKID${number}`,
      secretAccessKey: 's',
      sessionToken: 't',
      expiration: clock.now() + state.life,
    }
  }
  const store = sessionStore({
    scope,
    assume,
    queue: stsQueue({ perSecond: 100, concurrency }, clock),
    clock,
    isStillValid: (one) => state.permitted(one),
    explain: (failure, thrown, context) =>
      stsProblem(failure, thrown, { ...context, callerArn: 'arn:aws:iam::111111111111:role/node' }),
    on: {
      issued: (_grant, _session, reason) => reasons.push(reason),
      failed: () => {},
      cache: (outcome) => outcomes.push(outcome),
    },
  })
  return { clock, calls, state, store, outcomes, reasons }
}

const code = (expected: string) => (error: unknown) =>
  error instanceof Error && 'code' in error && error.code === expected

test('however many ask at once, STS is asked once', async () => {
  const { store, calls } = world()
  const sessions = await Promise.all(Array.from({ length: 50 }, () => store.get(grant('a'))))
  assert.equal(calls.length, 1)
  assert.equal(new Set(sessions.map(({ accessKeyId }) => accessKeyId)).size, 1)
})

test('pods with the same role have sessions of their own', async () => {
  const { store, calls } = world()
  const [a, b] = await Promise.all([store.get(grant('a')), store.get(grant('b'))])
  assert.equal(calls.length, 2)
  assert.notEqual(a.accessKeyId, b.accessKeyId)
})

test('under session scope role, pods share a session; different external ids never do', async () => {
  const { store, calls } = world('role')
  const [a, b, c] = await Promise.all([
    store.get(grant('a', { externalId: 'one' })),
    store.get(grant('b', { externalId: 'one' })),
    store.get(grant('c', { externalId: 'two' })),
  ])
  assert.equal(calls.length, 2)
  assert.equal(a.accessKeyId, b.accessKeyId)
  assert.notEqual(a.accessKeyId, c.accessKeyId)
})

test('everything STS is asked for is part of the cache key', () => {
  const variants: Partial<SessionRequest>[] = [
    {},
    { roleArn: 'other' },
    { externalId: 'x' },
    { externalId: 'y' },
    { sessionName: 'shop.b' },
    { tags: [{ Key: 'k', Value: 'v' }] },
    { durationSeconds: 900 },
    { sourceIdentity: 'shop.b' },
    { policyArns: ['a'] },
    { policyArns: ['b'] },
    { policyArns: ['a', 'b'] },
  ]
  for (const scope of ['pod', 'role'] as const)
    assert.equal(new Set(variants.map((over) => sessionKey(grant('a', over), scope))).size, variants.length)
  assert.notEqual(sessionKey(grant('a'), 'pod'), sessionKey(grant('b'), 'pod'))
})

test('a session that is fetched is renewed before half of its life is over', async () => {
  const { store, calls, clock } = world()
  await store.get(grant('a'))
  await clock.advance(29 * MINUTE)
  assert.equal(calls.length, 2)
  const at = calls[1]?.at ?? 0
  assert.ok((await store.get(grant('a'))).expiration > clock.now() + 30 * MINUTE)
  await clock.advance(at + 23 * MINUTE - clock.now())
  assert.equal(calls.length, 2)
  await clock.advance(6 * MINUTE)
  assert.equal(calls.length, 3)
  const renewed = await store.get(grant('a'))
  assert.equal(renewed.accessKeyId, 'AKID3')
  assert.ok(renewed.expiration - clock.now() > 53 * MINUTE)
})

test('a session nobody fetches any more is not renewed, and is forgotten when it expires', async () => {
  const { store, calls, clock } = world()
  await store.get(grant('a'))
  await clock.advance(30 * MINUTE)
  assert.equal(calls.length, 2)
  await clock.advance(2 * HOUR)
  assert.equal(calls.length, 2)
  assert.equal(store.size(), 0)
  assert.equal(clock.pending(), 0)
})

test('when renewal fails, what is valid is served, until a minute is left', async () => {
  const { store, state, clock, outcomes } = world()
  await store.get(grant('a'))
  state.fail = throttled
  await clock.advance(58 * MINUTE)
  const served = store.get(grant('a'))
  await clock.advance(1500)
  assert.equal((await served).accessKeyId, 'AKID1')
  assert.ok(outcomes.includes('stale'))
  await clock.advance(70_000)
  const refused = assert.rejects(store.get(grant('a')), code('sts-throttled'))
  await clock.advance(8000)
  await refused
})

test('what was issued in one moment is not renewed in one moment', async () => {
  const { store, calls, clock } = world()
  await Promise.all(Array.from({ length: 90 }, (_, index) => store.get(grant(`p${index}`))))
  await clock.advance(29 * MINUTE)
  const minutes = calls.slice(90).map(({ at }) => Math.floor((at - (calls[0]?.at ?? 0)) / MINUTE))
  assert.equal(minutes.length, 90)
  const most = Math.max(...minutes.map((minute) => minutes.filter((other) => other === minute).length))
  // Twenty minutes for 90: four or five in each.
  assert.ok(most <= 15, `${most} renewals within a minute`)
})

test('after an outage that outlived the sessions, they are fetched as what running pods have lost', async () => {
  const { store, state, clock, reasons } = world()
  await store.get(grant('a'))
  state.fail = throttled
  for (let minute = 0; minute < 65; minute++) {
    store.get(grant('a')).catch(() => {})
    await clock.advance(MINUTE)
  }
  delete state.fail
  store.get(grant('a')).catch(() => {})
  await clock.advance(MINUTE)
  assert.equal((await store.get(grant('a'))).expiration > clock.now() + 50 * MINUTE, true)
  assert.deepEqual(reasons, ['first', 'lapsed'])
})

test('what a session has left is told as the node’s clock is now, where that was set back', async () => {
  const { store, clock } = world()
  await store.get(grant('a'))
  await clock.advance(5 * MINUTE)
  clock.set(-2 * HOUR)
  const told = await store.get(grant('a'))
  assert.equal(told.expiration - clock.now(), 55 * MINUTE)
  assert.equal(clock.now() - told.issuedAt, 5 * MINUTE)
  assert.equal(store.soonestExpiry(), told.expiration)
  clock.set(2 * HOUR)
  assert.equal((await store.get(grant('a'))).expiration - clock.now(), 55 * MINUTE)
})

test('a session that nobody fetched is past its half by the time that has passed, whatever a clock that was set back says', async () => {
  const { store, calls, clock } = world()
  await store.get(grant('a'))
  // It was renewed, and nobody has fetched that one.
  await clock.advance(29 * MINUTE)
  assert.equal(calls.length, 2)
  await clock.advance((calls[1]?.at ?? 0) + 31 * MINUTE - clock.now() - 1)
  clock.set(-2 * HOUR)
  await clock.advance(MINUTE)
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID3')
})

test('a failure is remembered for its time, not until a clock that was set back comes there again', async () => {
  const { store, state, clock } = world()
  state.fail = denied
  await assert.rejects(store.get(grant('a')), code('sts-denied'))
  state.fail = undefined
  clock.set(-2 * HOUR)
  await clock.advance(31_000)
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID2')
})

test('a session ends by the time that has passed, too, where the node’s clock was set back', async () => {
  const { store, state, clock } = world()
  await store.get(grant('a'))
  state.fail = throttled
  clock.set(-2 * HOUR)
  await clock.advance(61 * MINUTE)
  const refused = assert.rejects(store.get(grant('a')), code('sts-throttled'))
  await clock.advance(8000)
  await refused
})

test('a renewal that hangs does not keep a request waiting that has a valid session', async () => {
  const { store, state, clock } = world()
  await store.get(grant('a'))
  state.hold = new Promise(() => {})
  await clock.advance(40 * MINUTE)
  const answer = store.get(grant('a'))
  await clock.advance(1500)
  assert.equal((await answer).accessKeyId, 'AKID1')
})

test('when STS hangs, a first request is answered after eight seconds, and the answer that comes later is kept', async () => {
  const { store, state, clock, calls } = world()
  const { promise, resolve } = Promise.withResolvers<void>()
  state.hold = promise
  const answer = assert.rejects(store.get(grant('a')), code('sts-unavailable'))
  await clock.advance(8000)
  await answer
  resolve()
  await clock.advance(1)
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID1')
  assert.equal(calls.length, 1)
})

test('a role that is made just after its pod is found within seconds', async () => {
  const { store, state, clock, calls } = world()
  state.fail = denied
  await assert.rejects(store.get(grant('a')), code('sts-denied'))
  state.fail = undefined
  await clock.advance(5000)
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID2')
  assert.equal(calls.length, 2)
})

test('a denial is remembered for seconds at first, longer each time, up to five minutes', async () => {
  const { store, state, clock, calls } = world()
  state.fail = denied
  for (let second = 0; second < 3600; second += 5) {
    await assert.rejects(store.get(grant('a')), code('sts-denied'))
    await clock.advance(5000)
  }
  assert.ok(calls.length >= 12 && calls.length <= 30, `${calls.length} calls in an hour`)
  const gaps = calls.slice(1).map(({ at }, index) => at - (calls[index]?.at ?? 0))
  assert.ok(Math.min(...gaps.slice(4)) >= 40_000, `${gaps}`)
  assert.ok(Math.max(...gaps) <= 305_000)
})

test('throttling is retried within seconds and backs off to a minute', async () => {
  const { store, state, clock, calls } = world()
  state.fail = throttled
  await assert.rejects(store.get(grant('a')), code('sts-throttled'))
  await clock.advance(1000)
  state.fail = undefined
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID2')
  assert.equal(calls.length, 2)
})

test('a remembered failure says how long it will be remembered', async () => {
  const { store, state, clock } = world()
  state.fail = denied
  await assert.rejects(store.get(grant('a')))
  await clock.advance(1000)
  await assert.rejects(store.get(grant('a')), (error: { retryAfter?: number }) => {
    assert.ok((error.retryAfter ?? 0) >= 2 && (error.retryAfter ?? 0) <= 4)
    return true
  })
})

test('a pod that is gone takes its sessions along, also one on its way', async () => {
  const { store, state, calls, clock } = world()
  await store.get(grant('a'))
  store.dropPod('a')
  assert.equal(store.size(), 0)

  const { promise, resolve } = Promise.withResolvers<void>()
  state.hold = promise
  const late = assert.rejects(store.get(grant('b')), code('busy'))
  await clock.advance(1)
  store.dropPod('b')
  resolve()
  await late
  assert.equal(store.size(), 0)
  assert.equal(calls.length, 2)
  assert.equal(clock.pending(), 0)
})

test('under session scope role, a session lives as long as one of its pods', async () => {
  const { store } = world('role')
  await Promise.all([store.get(grant('a')), store.get(grant('b'))])
  store.dropPod('a')
  assert.equal(store.size(), 1)
  store.dropPod('b')
  assert.equal(store.size(), 0)
})

test('a withdrawn permission evicts what is cached and stops renewal', async () => {
  const { store, state, calls, clock } = world()
  await store.get(grant('a'))
  await store.get(grant('b', {}, 'other'))
  state.permitted = ({ pod }) => pod.namespace !== 'shop'
  store.review(({ pod }) => pod.namespace === 'shop')
  assert.equal(store.size(), 1)
  await clock.advance(HOUR)
  assert.deepEqual(
    new Set(calls.slice(2).map(({ request: { sessionName } }) => sessionName)),
    new Set(['shop.app']),
  )
  assert.ok(calls.length <= 4)
})

test('permission is judged again before every renewal, also when nobody announced a change', async () => {
  const { store, state, calls, clock } = world()
  await store.get(grant('a'))
  state.permitted = () => false
  await clock.advance(HOUR)
  assert.equal(calls.length, 1)
  assert.equal(store.size(), 0)
})

test('a permission that goes while the call waits in the queue keeps STS from being asked', async () => {
  const { store, state, calls, clock } = world('pod', 1)
  const { promise, resolve } = Promise.withResolvers<void>()
  state.hold = promise
  const first = store.get(grant('a'))
  const second = assert.rejects(store.get(grant('b')), code('busy'))
  await clock.advance(1)
  state.permitted = ({ pod }) => pod.uid === 'a'
  resolve()
  await Promise.all([first, second])
  assert.equal(calls.length, 1)
})

test('a permission that goes while STS answers keeps the answer from being handed out', async () => {
  const { store, state, clock } = world()
  const { promise, resolve } = Promise.withResolvers<void>()
  state.hold = promise
  const late = assert.rejects(store.get(grant('a')), code('busy'))
  await clock.advance(1)
  state.permitted = () => false
  resolve()
  await late
})

test('the soonest expiry is that of the oldest session', async () => {
  const { store, clock, state } = world()
  assert.equal(store.soonestExpiry(), undefined)
  await store.get(grant('a'))
  state.life = 900_000
  await store.get(grant('b'))
  assert.equal(store.soonestExpiry(), clock.now() + 900_000)
})

test('a session is overdue while it is asked for and less than a third of its life is left', async () => {
  const { store, clock, state } = world()
  await store.get(grant('a'))
  await store.get(grant('of-a-pod-that-has-ended'))
  store.dropPod('of-a-pod-that-has-ended')
  // The broker renews by itself what is asked for, and cannot.
  state.fail = throttled
  await clock.advance(39 * MINUTE)
  assert.equal(store.overdue(), 0)
  await clock.advance(2 * MINUTE)
  assert.equal(store.overdue(), 1)
  // Lapsed, and its sidecar goes on asking.
  await clock.advance(20 * MINUTE)
  await assert.rejects(store.get(grant('a')))
  assert.equal(store.overdue(), 1)
  state.fail = undefined
  await clock.advance(2 * MINUTE)
  await store.get(grant('a'))
  assert.equal(store.overdue(), 0)
})

test('a session that nobody asks for runs out without being overdue', async () => {
  const { store, clock } = world()
  store.warm(grant('a'))
  await clock.advance(50 * MINUTE)
  assert.equal(store.size(), 1)
  assert.equal(store.overdue(), 0)
})

test('a day of 110 pods: two to three calls per pod and hour, no expired answer', async () => {
  const { store, calls, clock } = world()
  const pods = Array.from({ length: 110 }, (_, index) =>
    grant(`p${index}`, { sessionName: `shop.p${index}` }),
  )
  for (const pod of pods) void store.get(pod)
  await clock.advance(1000)
  // Every sidecar asks at half of the life of what it has.
  const due = new Map(pods.map((pod) => [pod, clock.now() + 30 * MINUTE]))
  for (let minute = 0; minute < 24 * 60; minute++) {
    await clock.advance(MINUTE)
    for (const [pod, at] of due) {
      if (at > clock.now()) continue
      const session = await store.get(pod)
      const left = session.expiration - clock.now()
      assert.ok(left > 25 * MINUTE, `${left / MINUTE} minutes left`)
      due.set(pod, clock.now() + left / 2)
    }
  }
  const perPodHour = calls.length / 110 / 24
  assert.ok(perPodHour > 1.9 && perPodHour < 2.7, `${perPodHour} calls per pod and hour`)
})

test('what was fetched ahead is there when it is asked for, and not renewed before', async () => {
  const { store, calls, clock, outcomes, reasons } = world()
  store.warm(grant('a'))
  store.warm(grant('a'))
  await clock.advance(1)
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID1')
  store.warm(grant('a'))
  store.warm(grant('b', { sessionName: 'shop.b' }))
  await clock.advance(1)
  assert.deepEqual([calls.length, outcomes, reasons], [2, ['hit'], ['warm-up', 'warm-up']])
  await clock.advance(2 * HOUR)
  // Of `a` there was one renewal; nobody asked for `b`.
  assert.deepEqual(
    calls.map(({ request: { sessionName } }) => sessionName),
    ['shop.app', 'shop.b', 'shop.app'],
  )
  assert.deepEqual([store.size(), clock.pending()], [0, 0])
})

test('a pod that asks while its warm-up waits is served before the warm-ups of others', async () => {
  const { store, state, clock, calls, reasons } = world('pod', 1)
  const { promise, resolve } = Promise.withResolvers<void>()
  state.hold = promise
  for (const uid of ['a', 'b', 'c', 'd']) store.warm(grant(uid, { sessionName: uid }))
  await clock.advance(1)
  const asked = store.get(grant('d', { sessionName: 'd' }))
  resolve()
  await clock.advance(1)
  await asked
  assert.deepEqual(
    calls.map(({ request: { sessionName } }) => sessionName),
    ['a', 'd', 'b', 'c'],
  )
  assert.deepEqual(reasons, ['warm-up', 'first', 'warm-up', 'warm-up'])
})

test('no more is fetched ahead than a node has pods, and what is asked for makes room', async () => {
  const { store, calls, clock } = world()
  for (let index = 0; index < 3000; index++) store.warm(grant(`p${index}`))
  await clock.advance(MINUTE)
  assert.deepEqual([calls.length, store.size()], [250, 250])
  await store.get(grant('p0'))
  store.warm(grant('p2999'))
  store.warm(grant('p2998'))
  await clock.advance(MINUTE)
  assert.equal(calls.length, 251)
})

test('a warm-up that is denied is remembered for the pod that asks, and one that found no place is not', async () => {
  const { store, state, calls, clock } = world('pod', 1)
  state.fail = denied
  store.warm(grant('a'))
  await clock.advance(1)
  await assert.rejects(store.get(grant('a')), code('sts-denied'))
  assert.equal(calls.length, 1)

  state.fail = undefined
  state.hold = new Promise(() => {})
  for (let index = 0; index <= 2000; index++) store.get(grant(`p${index}`)).catch(() => {})
  await clock.advance(1)
  const held = store.size()
  store.warm(grant('b'))
  await clock.advance(1)
  assert.equal(store.size(), held)
})

test('a warm-up whose pod goes, or may not any more, while it waits never reaches STS', async () => {
  const { store, state, calls, clock } = world('pod', 1)
  const { promise, resolve } = Promise.withResolvers<void>()
  state.hold = promise
  for (const uid of ['a', 'b', 'c']) store.warm(grant(uid))
  await clock.advance(1)
  store.dropPod('b')
  state.permitted = ({ pod }) => pod.uid !== 'c'
  resolve()
  await clock.advance(1)
  assert.deepEqual([calls.length, store.size()], [1, 1])
})

const BY_TOKEN = { webIdentity: { subject: 'system:serviceaccount:shop:orders' } }

test('by web identity a session is renewed in its turn with the pod’s latest token', async () => {
  const { store, calls, clock } = world()
  const day = clock.now() + 24 * HOUR
  await store.get(grant('a', BY_TOKEN), { token: 'one', expiresAt: day })
  await store.get(grant('a', BY_TOKEN), { token: 'two', expiresAt: day })
  await clock.advance(29 * MINUTE)
  assert.deepEqual(
    calls.map(({ token }) => token),
    ['one', 'two'],
  )
})

test('with a token that has expired STS is not asked; the next request brings another one', async () => {
  const { store, calls, clock } = world()
  await store.get(grant('a', BY_TOKEN), { token: 'one', expiresAt: clock.now() + 10 * MINUTE })
  await clock.advance(31 * MINUTE)
  assert.equal(calls.length, 1)
  await store.get(grant('a', BY_TOKEN), { token: 'two', expiresAt: clock.now() + HOUR })
  assert.deepEqual(
    calls.map(({ token }) => token),
    ['one', 'two'],
  )
})

test('a session by web identity that nobody asks for again is forgotten when it ends', async () => {
  const { store, clock } = world()
  await store.get(grant('a', BY_TOKEN), { token: 'one', expiresAt: clock.now() + 10 * MINUTE })
  assert.equal(store.size(), 1)
  await clock.advance(2 * HOUR)
  assert.equal(store.size(), 0)
})

test('nothing is fetched ahead by web identity, and a session is never that of the node’s role', async () => {
  const { store, calls } = world()
  store.warm(grant('a', BY_TOKEN))
  assert.deepEqual([calls.length, store.size()], [0, 0])
  assert.notEqual(sessionKey(grant('a', BY_TOKEN), 'pod'), sessionKey(grant('a'), 'pod'))
  assert.notEqual(sessionKey(grant('a', BY_TOKEN), 'role'), sessionKey(grant('a'), 'role'))
})
