import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SessionRequest } from '../../node-guard/broker/authorize/entitlement.ts'
import type { Assume } from '../../node-guard/broker/aws/assume.ts'
import { stsProblem } from '../../node-guard/broker/aws/explain.ts'
import { type Grant, sessionKey } from '../../node-guard/broker/sessions/entries.ts'
import { sessionStore } from '../../node-guard/broker/sessions/sessions.ts'
import { stsQueue } from '../../node-guard/broker/sessions/sts-queue.ts'
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
    signal: new AbortController().signal,
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

test('concurrent requests for the same session make one STS call', async () => {
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

test('with session scope role, pods share a session unless their external ids differ', async () => {
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

test('every parameter of the STS call is part of the cache key', () => {
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

test('a session that has been served is renewed before half of its lifetime is over', async () => {
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

test('a session that is not requested any more is not renewed, and is evicted when it expires', async () => {
  const { store, calls, clock } = world()
  await store.get(grant('a'))
  await clock.advance(30 * MINUTE)
  assert.equal(calls.length, 2)
  await clock.advance(2 * HOUR)
  assert.equal(calls.length, 2)
  assert.equal(store.size(), 0)
  assert.equal(clock.pending(), 0)
})

test('a session whose renewal fails is served until a minute before it expires', async () => {
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

test('sessions that were issued at the same moment are renewed at different times', async () => {
  const { store, calls, clock } = world()
  await Promise.all(Array.from({ length: 90 }, (_, index) => store.get(grant(`p${index}`))))
  await clock.advance(29 * MINUTE)
  const minutes = calls.slice(90).map(({ at }) => Math.floor((at - (calls[0]?.at ?? 0)) / MINUTE))
  assert.equal(minutes.length, 90)
  const most = Math.max(...minutes.map((minute) => minutes.filter((other) => other === minute).length))
  // 90 renewals are spread over twenty minutes: four or five in each.
  assert.ok(most <= 15, `${most} renewals within a minute`)
})

test('a session that expired during an outage is fetched with the reason `lapsed`', async () => {
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

test('the expiration is adjusted to the node’s clock when that was changed, so that the remaining time is right', async () => {
  const { store, clock } = world()
  await store.get(grant('a'))
  await clock.advance(5 * MINUTE)
  clock.set(-2 * HOUR)
  const session = await store.get(grant('a'))
  assert.equal(session.expiration - clock.now(), 55 * MINUTE)
  assert.equal(clock.now() - session.issuedAt, 5 * MINUTE)
  assert.equal(store.soonestExpiry(), session.expiration)
  clock.set(2 * HOUR)
  assert.equal((await store.get(grant('a'))).expiration - clock.now(), 55 * MINUTE)
})

test('a session that nobody fetched is past its half when that much time has passed, also if the clock was set back', async () => {
  const { store, calls, clock } = world()
  await store.get(grant('a'))
  // It was renewed, and nobody has fetched the new session.
  await clock.advance(29 * MINUTE)
  assert.equal(calls.length, 2)
  await clock.advance((calls[1]?.at ?? 0) + 31 * MINUTE - clock.now() - 1)
  clock.set(-2 * HOUR)
  await clock.advance(MINUTE)
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID3')
})

test('a failure is cached for its usual time, also if the clock was set back', async () => {
  const { store, state, clock } = world()
  state.fail = denied
  await assert.rejects(store.get(grant('a')), code('sts-denied'))
  state.fail = undefined
  clock.set(-2 * HOUR)
  await clock.advance(31_000)
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID2')
})

test('a session ends when its time has passed, also if the clock was set back', async () => {
  const { store, state, clock } = world()
  await store.get(grant('a'))
  state.fail = throttled
  clock.set(-2 * HOUR)
  await clock.advance(61 * MINUTE)
  const refused = assert.rejects(store.get(grant('a')), code('sts-throttled'))
  await clock.advance(8000)
  await refused
})

test('a renewal that hangs does not delay a request for which there is a valid session', async () => {
  const { store, state, clock } = world()
  await store.get(grant('a'))
  state.hold = new Promise(() => {})
  await clock.advance(40 * MINUTE)
  const answer = store.get(grant('a'))
  await clock.advance(1500)
  assert.equal((await answer).accessKeyId, 'AKID1')
})

test('when STS hangs, a first request fails after eight seconds, and the later answer of STS is cached', async () => {
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

test('a role that is created just after its pod is usable within seconds', async () => {
  const { store, state, clock, calls } = world()
  state.fail = denied
  await assert.rejects(store.get(grant('a')), code('sts-denied'))
  state.fail = undefined
  await clock.advance(5000)
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID2')
  assert.equal(calls.length, 2)
})

test('a denial is cached for seconds at first, then longer each time, up to five minutes', async () => {
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

test('a throttled call is retried after a second', async () => {
  const { store, state, clock, calls } = world()
  state.fail = throttled
  await assert.rejects(store.get(grant('a')), code('sts-throttled'))
  await clock.advance(1000)
  state.fail = undefined
  assert.equal((await store.get(grant('a'))).accessKeyId, 'AKID2')
  assert.equal(calls.length, 2)
})

test('a cached failure has the remaining time as its Retry-After', async () => {
  const { store, state, clock } = world()
  state.fail = denied
  await assert.rejects(store.get(grant('a')))
  await clock.advance(1000)
  await assert.rejects(store.get(grant('a')), (error: { retryAfter?: number }) => {
    assert.ok((error.retryAfter ?? 0) >= 2 && (error.retryAfter ?? 0) <= 4)
    return true
  })
})

test('when a pod is gone, its sessions are evicted, also one that STS is still creating', async () => {
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

test('with session scope role, a session is kept as long as one of its pods exists', async () => {
  const { store } = world('role')
  await Promise.all([store.get(grant('a')), store.get(grant('b'))])
  store.dropPod('a')
  assert.equal(store.size(), 1)
  store.dropPod('b')
  assert.equal(store.size(), 0)
})

test('a withdrawn permission evicts the session and stops its renewal', async () => {
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

test('permission is checked again before every renewal, also when no change was reported', async () => {
  const { store, state, calls, clock } = world()
  await store.get(grant('a'))
  state.permitted = () => false
  await clock.advance(HOUR)
  assert.equal(calls.length, 1)
  assert.equal(store.size(), 0)
})

test('STS is not called when the permission is withdrawn while the call waits in the queue', async () => {
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

test('a session is not served when the permission is withdrawn while STS creates it', async () => {
  const { store, state, clock } = world()
  const { promise, resolve } = Promise.withResolvers<void>()
  state.hold = promise
  const late = assert.rejects(store.get(grant('a')), code('busy'))
  await clock.advance(1)
  state.permitted = () => false
  resolve()
  await late
})

test('the soonest expiry is that of the session which expires first', async () => {
  const { store, clock, state } = world()
  assert.equal(store.soonestExpiry(), undefined)
  await store.get(grant('a'))
  state.life = 900_000
  await store.get(grant('b'))
  assert.equal(store.soonestExpiry(), clock.now() + 900_000)
})

test('a session is overdue while it is requested and less than a third of its lifetime is left', async () => {
  const { store, clock, state } = world()
  await store.get(grant('a'))
  await store.get(grant('of-a-pod-that-has-ended'))
  store.dropPod('of-a-pod-that-has-ended')
  // The broker tries to renew the sessions that are requested, and fails.
  state.fail = throttled
  await clock.advance(39 * MINUTE)
  assert.equal(store.overdue(), 0)
  await clock.advance(2 * MINUTE)
  assert.equal(store.overdue(), 1)
  // The session has expired, and its sidecar still requests it.
  await clock.advance(20 * MINUTE)
  await assert.rejects(store.get(grant('a')))
  assert.equal(store.overdue(), 1)
  state.fail = undefined
  await clock.advance(2 * MINUTE)
  await store.get(grant('a'))
  assert.equal(store.overdue(), 0)
})

test('a session that nobody requests expires without being overdue', async () => {
  const { store, clock } = world()
  store.warm(grant('a'))
  await clock.advance(50 * MINUTE)
  assert.equal(store.size(), 1)
  assert.equal(store.overdue(), 0)
})

test('110 pods cause two to three calls per pod and hour in a day, and never get an expired session', async () => {
  const { store, calls, clock } = world()
  const pods = Array.from({ length: 110 }, (_, index) =>
    grant(`p${index}`, { sessionName: `shop.p${index}` }),
  )
  for (const pod of pods) void store.get(pod)
  await clock.advance(1000)
  // Every sidecar requests a session at half of the lifetime of the one it has.
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

test('a warm-up caches a session until it is requested, and does not renew it before', async () => {
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
  // The session of `a` was renewed once; nobody requested that of `b`.
  assert.deepEqual(
    calls.map(({ request: { sessionName } }) => sessionName),
    ['shop.app', 'shop.b', 'shop.app'],
  )
  assert.deepEqual([store.size(), clock.pending()], [0, 0])
})

test('a warm-up that waits comes before the others once its session is requested', async () => {
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

test('there are no more warm-ups than a node has pods, and a requested session does not count any more', async () => {
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

test('a denied warm-up is cached for the pod’s request, and one that found no place in the queue is not', async () => {
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

test('a warm-up makes no STS call if its pod is deleted or loses its permission while it waits', async () => {
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

test('a session by web identity is renewed in its turn with the pod’s latest token', async () => {
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

test('a session by web identity is not renewed with an expired token, but at the next request with a new one', async () => {
  const { store, calls, clock } = world()
  // The first renewal of a session of one hour comes after 9 minutes at the earliest.
  await store.get(grant('a', BY_TOKEN), { token: 'one', expiresAt: clock.now() + 8 * MINUTE })
  await clock.advance(31 * MINUTE)
  assert.equal(calls.length, 1)
  await store.get(grant('a', BY_TOKEN), { token: 'two', expiresAt: clock.now() + HOUR })
  assert.deepEqual(
    calls.map(({ token }) => token),
    ['one', 'two'],
  )
})

test('a session by web identity that is not requested again is evicted when it expires', async () => {
  const { store, clock } = world()
  await store.get(grant('a', BY_TOKEN), { token: 'one', expiresAt: clock.now() + 10 * MINUTE })
  assert.equal(store.size(), 1)
  await clock.advance(2 * HOUR)
  assert.equal(store.size(), 0)
})

test('there is no warm-up by web identity, and its sessions are never shared with those of the node’s role', async () => {
  const { store, calls } = world()
  store.warm(grant('a', BY_TOKEN))
  assert.deepEqual([calls.length, store.size()], [0, 0])
  assert.notEqual(sessionKey(grant('a', BY_TOKEN), 'pod'), sessionKey(grant('a'), 'pod'))
  assert.notEqual(sessionKey(grant('a', BY_TOKEN), 'role'), sessionKey(grant('a'), 'role'))
})
