/** When the broker is asked again, and what is handed out meanwhile: pure arithmetic and the store. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Outcome } from '../../sidecar/broker/outcome.ts'
import { type Credentials, parseCredentials } from '../../sidecar/credentials/credentials.ts'
import { refreshDelay, retryDelay } from '../../sidecar/credentials/schedule.ts'
import { CredentialStore } from '../../sidecar/credentials/store.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { credentialsBody } from './support/index.ts'

const MINUTE = 60_000
const NOW = Date.parse('2026-11-24T08:00:00Z')

function credentials(life: number, now = NOW): Credentials {
  const parsed = parseCredentials(JSON.stringify(credentialsBody({}, now, life)), now)
  assert.ok(parsed.ok)
  return parsed.credentials
}

const retry: Outcome & { kind: 'retry' } = { kind: 'retry', code: 'busy', detail: 'x', retryAfter: undefined }
const refused: Outcome & { kind: 'refused' } = {
  kind: 'refused',
  code: 'sts-denied',
  detail: 'no',
  retryAfter: undefined,
}

describe('refresh of credentials', () => {
  test('of an hour comes when 30 to 36 minutes are left', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (random) => {
        const left = 60 * MINUTE - refreshDelay(credentials(60 * MINUTE), NOW, random)
        assert.ok(left >= 30 * MINUTE && left <= 36 * MINUTE, `${left / MINUTE} min left`)
      }),
    )
  })

  test('that were already old when they came is soon, but not at once', () => {
    const old = { ...credentials(60 * MINUTE), lastUpdated: NOW - 40 * MINUTE, expiration: NOW + 20 * MINUTE }
    for (const random of [0, 0.5, 1]) {
      const delay = refreshDelay(old, NOW, random)
      assert.ok(delay >= 2 * MINUTE && delay <= 3 * MINUTE, String(delay))
    }
  })

  test('issued in the future, as it looks after the clock was set back, is not later for that', () => {
    const held = {
      ...credentials(60 * MINUTE),
      lastUpdated: NOW + 120 * MINUTE,
      expiration: NOW + 180 * MINUTE,
    }
    for (const random of [0, 0.5, 1]) {
      const delay = refreshDelay(held, NOW, random)
      assert.ok(delay >= 24 * MINUTE && delay <= 30 * MINUTE, String(delay / MINUTE))
    }
  })

  test('always comes before the last minute, whatever the lifetime', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2 * MINUTE, max: 720 * MINUTE }),
        fc.integer({ min: 0, max: 700 * MINUTE }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (life, age, random) => {
          const held = { ...credentials(life), lastUpdated: NOW - age }
          const delay = refreshDelay(held, NOW, random)
          assert.ok(delay > 0 && delay <= life - MINUTE, `${delay} of ${life}`)
        },
      ),
    )
  })
})

describe('back-off', () => {
  const series = (outcome: Exclude<Outcome, { kind: 'credentials' }>, holding: boolean) =>
    [1, 2, 3, 4, 5, 6, 7, 30].map((failures) => retryDelay(outcome, failures, holding, 1))

  test('with nothing to hand out starts at 100 ms and ends at 5 s', () => {
    assert.deepEqual(series(retry, false), [100, 200, 400, 800, 1600, 3200, 5000, 5000])
  })
  test('with living credentials starts at 1 s and ends at 30 s', () => {
    assert.deepEqual(series(retry, true), [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  })
  test('after a refusal starts at 5 s and ends at 5 min', () => {
    assert.deepEqual(
      series(refused, false),
      [5000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000],
    )
  })
  test('without a role is one minute to five', () => {
    assert.deepEqual(
      series({ kind: 'none', code: 'role-not-set', detail: '' }, false).slice(0, 4),
      [60_000, 120_000, 240_000, 300_000],
    )
  })
  test('is spread over its upper half', () => {
    assert.equal(retryDelay(retry, 1, true, 0), 500)
    assert.equal(retryDelay(retry, 1, true, 1), 1000)
  })
  test('honours Retry-After, up to a bound', () => {
    assert.equal(retryDelay({ ...retry, retryAfter: 20_000 }, 1, true, 1), 20_000)
    assert.equal(retryDelay({ ...retry, retryAfter: 3_600_000 }, 1, true, 1), 60_000)
    assert.equal(retryDelay({ ...retry, retryAfter: 3_600_000 }, 1, false, 1), 15_000)
    assert.equal(retryDelay({ ...refused, retryAfter: 3_600_000 }, 1, false, 1), 300_000)
    assert.equal(retryDelay({ ...retry, retryAfter: 0 }, 1, true, 1), 1000)
  })
})

describe('the store', () => {
  const store = (life = 60 * MINUTE) => {
    const clock = fakeClock(NOW)
    const held = new CredentialStore(clock)
    held.accept({ kind: 'credentials', credentials: credentials(life) })
    return { clock, held }
  }

  test('has nothing before the broker was asked', () => {
    const view = new CredentialStore(fakeClock()).view()
    assert.deepEqual([view.kind, view.kind === 'unavailable' && view.code], ['unavailable', 'starting'])
  })

  test('hands credentials out until a minute before their end, and not longer', () => {
    const { clock, held } = store()
    clock.advanceSync(59 * MINUTE)
    assert.equal(held.view().kind, 'valid')
    clock.advanceSync(1)
    const view = held.view()
    assert.deepEqual(
      [view.kind, view.kind === 'unavailable' && view.code],
      ['unavailable', 'credentials-expired'],
    )
  })

  for (const outcome of [retry, refused, { kind: 'none', code: 'role-not-set', detail: '' } as const])
    test(`keeps living credentials through "${outcome.kind}" and follows it when they are over`, () => {
      const { clock, held } = store()
      held.accept(outcome)
      assert.equal(held.view().kind, 'valid')
      clock.advanceSync(60 * MINUTE)
      assert.equal(held.view().kind, outcome.kind === 'retry' ? 'unavailable' : outcome.kind)
    })

  test('stays refused while the broker is away', () => {
    const held = new CredentialStore(fakeClock())
    held.accept(refused)
    held.accept(retry)
    assert.equal(held.view().kind, 'refused')
  })

  test('does not hand out longer what it is given once more after the clock was set back', () => {
    const { clock, held } = store()
    const issued = credentials(60 * MINUTE, clock.now())
    clock.set(-120 * MINUTE)
    held.accept({ kind: 'credentials', credentials: issued })
    clock.advanceSync(59 * MINUTE)
    assert.equal(held.view().kind, 'valid')
    clock.advanceSync(1)
    assert.equal(held.view().kind, 'unavailable')
  })

  test('gives what it is given once more no new life, when part of it has passed and the clock was set back', () => {
    const { clock, held } = store()
    const issued = credentials(60 * MINUTE, clock.now())
    clock.advanceSync(40 * MINUTE)
    clock.set(-120 * MINUTE)
    held.accept({ kind: 'credentials', credentials: issued })
    assert.equal(held.remaining(), 20 * MINUTE)
    clock.advanceSync(19 * MINUTE + 1)
    assert.equal(held.view().kind, 'unavailable')
  })

  test('tells the end as the wall clock is now, where that was set back', () => {
    const { clock, held } = store()
    clock.advanceSync(10 * MINUTE)
    clock.set(-120 * MINUTE)
    const view = held.view()
    assert.ok(view.kind === 'valid')
    assert.equal(view.credentials.expiration - clock.now(), 50 * MINUTE)
    assert.equal(clock.now() - view.credentials.lastUpdated, 10 * MINUTE)
    clock.set(120 * MINUTE)
    const right = held.view()
    assert.ok(right.kind === 'valid')
    assert.equal(right.credentials.expiration - clock.now(), 50 * MINUTE)
  })

  test('takes credentials after a refusal', () => {
    const { held } = store()
    held.accept(refused)
    held.accept({ kind: 'credentials', credentials: credentials(60 * MINUTE) })
    assert.equal(held.view().kind, 'valid')
  })

  test('does not hand out what ended during a suspend, when only the wall clock went on', () => {
    const { clock, held } = store()
    clock.set(2 * 60 * MINUTE)
    assert.equal(held.view().kind, 'unavailable')
    assert.equal(held.remaining(), 0)
  })

  test('does not gain life from a wall clock that is set back', () => {
    const { clock, held } = store()
    clock.advanceSync(50 * MINUTE)
    clock.set(-3 * 60 * MINUTE)
    assert.equal(held.remaining(), 10 * MINUTE)
    clock.advanceSync(9 * MINUTE + 1)
    assert.equal(held.view().kind, 'unavailable')
  })
})
