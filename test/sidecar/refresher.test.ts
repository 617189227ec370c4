/** The refresher with a clock that the test controls, and a small broker over real HTTP. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { CREDENTIALS_PATH } from '../../common/protocol.ts'
import { brokerClient } from '../../sidecar/broker/client.ts'
import { outcomeOf } from '../../sidecar/broker/outcome.ts'
import { startRefresher } from '../../sidecar/credentials/refresher.ts'
import { CredentialStore } from '../../sidecar/credentials/store.ts'
import { type FakeClock, fakeClock } from '../support/fake-clock.ts'
import { freePort } from '../support/free-port.ts'
import { captureLog, type LogLine } from '../support/log.ts'
import { until } from '../support/until.ts'
import { credentialsBody, json, problem, startBroker, type TestBroker } from './support/index.ts'

const MINUTE = 60_000

type Rig = {
  readonly clock: FakeClock
  readonly store: CredentialStore
  readonly logs: LogLine[]
  /** Waits until the current step is over and the next one is scheduled. Returns the milliseconds until then. */
  readonly settled: () => Promise<number>
  /** Lets time pass until the next step is over. */
  readonly nextStep: () => Promise<void>
}

describe('the refresher', () => {
  let broker: TestBroker
  const stops: (() => void)[] = []
  let token = 'first'

  before(async () => {
    broker = await startBroker()
  })
  after(async () => {
    for (const stop of stops) stop()
    await broker.close()
  })

  /** @param patience real milliseconds to wait for an answer: few if none will come */
  function start(urls: readonly string[] = [broker.url], patience = 30_000): Rig {
    const clock = fakeClock()
    const store = new CredentialStore(clock)
    const { log, lines: logs } = captureLog('info')
    const ask = brokerClient({
      urls,
      readToken: () => token,
      connectTimeout: patience,
      answerTimeout: patience,
    })
    let asked = 0
    let planned = 0
    const { stop } = startRefresher({
      ask: async () => outcomeOf(await ask(CREDENTIALS_PATH), clock.now()),
      onOutcome: () => asked++,
      store,
      clock,
      log,
      random: () => 1,
    })
    stops.push(stop)
    const settled = async () => {
      await until('the step is over', () => asked > planned && clock.pending() === 1)
      planned = asked
      return clock.next()
    }
    return {
      clock,
      store,
      logs,
      settled,
      nextStep: async () => {
        while (asked === planned) {
          // Long sleeps are divided into slices, without a request between them.
          clock.advanceSync(clock.next())
          if (clock.pending() === 0) break
        }
        await settled()
      },
    }
  }

  const good = (clock: FakeClock, life = 60 * MINUTE, changes = {}) =>
    json(credentialsBody(changes, clock.now(), life))

  test('requests credentials at once, with the current token of the file', async () => {
    const clock = fakeClock()
    broker.credentials = good(clock)
    token = 'first'
    const rig = start()
    await rig.settled()
    assert.equal(rig.store.view().kind, 'valid')
    assert.equal(broker.asked.at(-1)?.authorization, 'Bearer first')
    token = 'rotated'
    broker.credentials = good(rig.clock)
    await rig.nextStep()
    assert.equal(broker.asked.at(-1)?.authorization, 'Bearer rotated')
  })

  test('refreshes at half of the lifetime, or up to a tenth of it earlier', async () => {
    const rig = start()
    broker.credentials = good(rig.clock)
    await rig.settled()
    const before = rig.clock.monotonic()
    broker.credentials = good(rig.clock, 60 * MINUTE, { AccessKeyId: 'ASIASECOND' })
    await rig.nextStep()
    const waited = rig.clock.monotonic() - before
    assert.ok(waited >= 24 * MINUTE - 1000 && waited <= 30 * MINUTE, `${waited / MINUTE} min`)
    const view = rig.store.view()
    assert.equal(view.kind === 'valid' && view.credentials.accessKeyId, 'ASIASECOND')
  })

  test('keeps credentials in an outage until they expire, and then recovers by itself', async () => {
    const rig = start()
    broker.credentials = good(rig.clock)
    await rig.settled()
    broker.credentials = (request) => request.socket.destroy()
    await rig.nextStep()
    assert.equal(rig.store.view().kind, 'valid')
    while (rig.store.view().kind === 'valid') await rig.nextStep()
    assert.ok(rig.clock.monotonic() >= 59 * MINUTE && rig.clock.monotonic() <= 60 * MINUTE)
    assert.ok(rig.logs.some(({ msg }) => msg.includes('have expired')))
    broker.credentials = good(rig.clock)
    await rig.nextStep()
    assert.equal(rig.store.view().kind, 'valid')
    assert.equal(rig.logs.at(-1)?.msg, 'credentials obtained')
  })

  test('logs an outage once, not at every attempt', async () => {
    broker.credentials = problem('sts-unavailable', 'STS does not answer.')
    const rig = start()
    await rig.settled()
    for (let round = 0; round < 5; round++) await rig.nextStep()
    assert.equal(rig.logs.filter(({ code }) => code === 'sts-unavailable').length, 1)
  })

  test('tries again within a second while there are no credentials', async () => {
    broker.credentials = problem('pod-unknown', 'The watch is behind.')
    const rig = start()
    const waits = [await rig.settled()]
    for (let round = 0; round < 3; round++) {
      await rig.nextStep()
      waits.push(rig.clock.next())
    }
    assert.deepEqual(waits.map(Math.round), [100, 200, 400, 800])
  })

  test('waits as long as Retry-After says', async () => {
    const rig = start()
    broker.credentials = good(rig.clock)
    await rig.settled()
    broker.credentials = problem('sts-throttled', 'Throttled.', { 'Retry-After': '17' })
    await rig.nextStep()
    assert.equal(rig.clock.next(), 17_000)
  })

  test('logs a refusal as one sentence with the remedy, and tries again slowly', async () => {
    broker.credentials = problem('sts-denied', 'Add the node role to the trust policy of team/reader.')
    const rig = start()
    assert.equal(await rig.settled(), 5000)
    assert.deepEqual(
      rig.logs.map(({ level, msg, code }) => [level, msg, code]),
      [['error', 'credentials refused: Add the node role to the trust policy of team/reader.', 'sts-denied']],
    )
    assert.equal(rig.store.view().kind, 'refused')
    broker.credentials = good(rig.clock)
    await rig.nextStep()
    assert.equal(rig.store.view().kind, 'valid')
  })

  test('requests credentials soon after the wall clock has jumped forward, as after a suspend', async () => {
    const rig = start()
    broker.credentials = good(rig.clock)
    await rig.settled()
    rig.clock.set(3 * 60 * MINUTE)
    assert.equal(rig.store.view().kind, 'unavailable')
    broker.credentials = good(rig.clock)
    const before = rig.clock.monotonic()
    await rig.nextStep()
    assert.ok(rig.clock.monotonic() - before <= 30_000)
    assert.equal(rig.store.view().kind, 'valid')
    assert.ok(rig.logs.some(({ msg }) => msg.includes('clock jumped')))
  })

  test('requests credentials soon after the wall clock was set back', async () => {
    const rig = start()
    broker.credentials = good(rig.clock)
    await rig.settled()
    rig.clock.set(-3 * 60 * MINUTE)
    broker.credentials = good(rig.clock)
    const before = rig.clock.monotonic()
    await rig.nextStep()
    assert.ok(rig.clock.monotonic() - before <= 30_000)
    assert.ok(rig.store.remaining() > 59 * MINUTE)
  })

  for (const [what, body] of Object.entries({
    'no JSON': '<html>',
    'an empty body': '',
    'an array': '[]',
    'another Code': JSON.stringify(credentialsBody({ Code: 'Failed' as 'Success' })),
    'a key with a newline': JSON.stringify(credentialsBody({ AccessKeyId: 'a\nb' })),
    'no secret': JSON.stringify({ ...credentialsBody(), SecretAccessKey: undefined }),
    'a number as token': JSON.stringify({ ...credentialsBody(), Token: 1 }),
    'an invalid time': JSON.stringify(credentialsBody({ Expiration: 'tomorrow' })),
    'a role of another ARN': JSON.stringify(credentialsBody({ Role: 'admin' })),
    'a role with two lines': JSON.stringify(credentialsBody({ Role: 'team/reader\nadmin' })),
    'an ARN that is not a role': JSON.stringify(
      credentialsBody({ Role: 'reader', RoleArn: 'arn:aws:s3:::reader' }),
    ),
    'expired credentials': JSON.stringify(credentialsBody({}, Date.parse('2020-01-01T00:00:00Z'))),
    'a body that is too long': JSON.stringify({ ...credentialsBody(), more: 'x'.repeat(300 * 1024) }),
  }))
    test(`rejects ${what} as an answer and keeps its credentials`, async () => {
      const rig = start()
      broker.credentials = good(rig.clock)
      await rig.settled()
      broker.credentials = (_request, response) => void response.end(body)
      await rig.nextStep()
      assert.equal(rig.store.view().kind, 'valid')
      assert.equal(rig.logs.at(-1)?.code, 'broker-answer-invalid')
      assert.ok(!JSON.stringify(rig.logs).includes('wJalrXUtnFEMI'))
    })

  test('rejects a redirect as an answer and does not follow it', async () => {
    broker.credentials = (_request, response) =>
      void response.writeHead(302, { Location: '/elsewhere' }).end()
    const rig = start()
    await rig.settled()
    assert.equal(rig.logs.at(-1)?.code, 'broker-answer-invalid')
    assert.ok(!broker.asked.some(({ path }) => path === '/elsewhere'))
  })

  test('treats an unknown code as temporary', async () => {
    broker.credentials = (_request, response) =>
      void response.writeHead(403).end('{"code":"from-the-future"}')
    const rig = start()
    await rig.settled()
    assert.equal(rig.store.view().kind, 'unavailable')
  })

  test('gives up waiting for a broker that hangs', async () => {
    broker.credentials = () => {}
    const rig = start([broker.url], 500)
    await rig.settled()
    assert.equal(rig.logs.at(-1)?.code, 'broker-unreachable')
  })

  test('gives up waiting for a broker that stops in the middle of its answer', async () => {
    broker.credentials = (_request, response) =>
      void response.writeHead(200, { 'Content-Length': '100' }).write('{')
    const rig = start([broker.url], 500)
    await rig.settled()
    assert.equal(rig.logs.at(-1)?.code, 'broker-unreachable')
  })

  test('uses the second address when the first does not answer, and from then on uses it first', async () => {
    const port = await freePort()
    const first = await startBroker(port)
    await first.close()
    const rig = start([first.url, broker.url])
    broker.credentials = good(rig.clock)
    await rig.settled()
    assert.equal(rig.store.view().kind, 'valid')
    const back = await startBroker(port)
    try {
      await rig.nextStep()
      assert.equal(back.asked.length, 0)
    } finally {
      await back.close()
    }
  })

  test('accepts a refusal from the first address and does not try the second', async () => {
    const first = await startBroker()
    first.credentials = problem('role-not-allowed', 'Not here.')
    try {
      const before = broker.asked.length
      const rig = start([first.url, broker.url])
      await rig.settled()
      assert.equal(rig.store.view().kind, 'refused')
      assert.equal(broker.asked.length, before)
    } finally {
      await first.close()
    }
  })
})
