/** When the sidecar asks the broker again, and which credentials it serves meanwhile: pure arithmetic and the store. */
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
  test('that are valid for an hour is due when 30 to 36 minutes are left', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (random) => {
        const left = 60 * MINUTE - refreshDelay(credentials(60 * MINUTE), NOW, random)
        assert.ok(left >= 30 * MINUTE && left <= 36 * MINUTE, `${left / MINUTE} min left`)
      }),
    )
  })

  test('that were already old when they arrived is due soon, but not at once', () => {
    const old = { ...credentials(60 * MINUTE), lastUpdated: NOW - 40 * MINUTE, expiration: NOW + 20 * MINUTE }
    for (const random of [0, 0.5, 1]) {
      const delay = refreshDelay(old, NOW, random)
      assert.ok(delay >= 2 * MINUTE && delay <= 3 * MINUTE, String(delay))
    }
  })

  test('that seem to be issued in the future, as after the clock was set back, is not due later', () => {
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

  test('is always due before the last minute, whatever the lifetime', () => {
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

  test('without credentials starts at 100 ms and ends at 5 s', () => {
    assert.deepEqual(series(retry, false), [100, 200, 400, 800, 1600, 3200, 5000, 5000])
  })
  test('with valid credentials starts at 1 s and ends at 30 s', () => {
    assert.deepEqual(series(retry, true), [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  })
  test('after a refusal starts at 5 s and ends at 5 min', () => {
    assert.deepEqual(
      series(refused, false),
      [5000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000],
    )
  })
  test('without a role starts at 1 min and ends at 5 min', () => {
    assert.deepEqual(
      series({ kind: 'none', code: 'role-not-set', detail: '' }, false).slice(0, 4),
      [60_000, 120_000, 240_000, 300_000],
    )
  })
  test('is a random time in the upper half of its value', () => {
    assert.equal(retryDelay(retry, 1, true, 0), 500)
    assert.equal(retryDelay(retry, 1, true, 1), 1000)
  })
  test('follows Retry-After, up to a limit', () => {
    assert.equal(retryDelay({ ...retry, retryAfter: 20_000 }, 1, true, 1), 20_000)
    assert.equal(retryDelay({ ...retry, retryAfter: 3_600_000 }, 1, true, 1), 60_000)
    assert.equal(retryDelay({ ...retry, retryAfter: 3_600_000 }, 1, false, 1), 15_000)
    assert.equal(retryDelay({ ...refused, retryAfter: 3_600_000 }, 1, false, 1), 300_000)
    assert.equal(retryDelay({ ...retry, retryAfter: 0 }, 1, true, 1), 1000)
  })
})

describe('the credential store', () => {
  const store = (life = 60 * MINUTE) => {
    const clock = fakeClock(NOW)
    const held = new CredentialStore(clock)
    held.accept({ kind: 'credentials', credentials: credentials(life) })
    return { clock, held }
  }

  test('has no credentials before the broker has answered', () => {
    const view = new CredentialStore(fakeClock()).view()
    assert.deepEqual([view.kind, view.kind === 'unavailable' && view.code], ['unavailable', 'starting'])
  })

  test('serves credentials until a minute before they expire, and not longer', () => {
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
    test(`keeps valid credentials after the outcome "${outcome.kind}", which counts when they expire`, () => {
      const { clock, held } = store()
      held.accept(outcome)
      assert.equal(held.view().kind, 'valid')
      clock.advanceSync(60 * MINUTE)
      assert.equal(held.view().kind, outcome.kind === 'retry' ? 'unavailable' : outcome.kind)
    })

  test('keeps a refusal while the broker is away', () => {
    const held = new CredentialStore(fakeClock())
    held.accept(refused)
    held.accept(retry)
    assert.equal(held.view().kind, 'refused')
  })

  test('does not serve credentials longer when it gets them again after the clock was set back', () => {
    const { clock, held } = store()
    const issued = credentials(60 * MINUTE, clock.now())
    clock.set(-120 * MINUTE)
    held.accept({ kind: 'credentials', credentials: issued })
    clock.advanceSync(59 * MINUTE)
    assert.equal(held.view().kind, 'valid')
    clock.advanceSync(1)
    assert.equal(held.view().kind, 'unavailable')
  })

  test('does not extend half-used credentials when it gets them again after the clock was set back', () => {
    const { clock, held } = store()
    const issued = credentials(60 * MINUTE, clock.now())
    clock.advanceSync(40 * MINUTE)
    clock.set(-120 * MINUTE)
    held.accept({ kind: 'credentials', credentials: issued })
    assert.equal(held.remaining(), 20 * MINUTE)
    clock.advanceSync(19 * MINUTE + 1)
    assert.equal(held.view().kind, 'unavailable')
  })

  test('adjusts the expiration to the wall clock when that was changed', () => {
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

  test('serves credentials that come after a refusal', () => {
    const { held } = store()
    held.accept(refused)
    held.accept({ kind: 'credentials', credentials: credentials(60 * MINUTE) })
    assert.equal(held.view().kind, 'valid')
  })

  test('does not serve credentials that expired during a suspend, when only the wall clock advanced', () => {
    const { clock, held } = store()
    clock.set(2 * 60 * MINUTE)
    assert.equal(held.view().kind, 'unavailable')
    assert.equal(held.remaining(), 0)
  })

  test('does not extend credentials when the wall clock is set back', () => {
    const { clock, held } = store()
    clock.advanceSync(50 * MINUTE)
    clock.set(-3 * 60 * MINUTE)
    assert.equal(held.remaining(), 10 * MINUTE)
    clock.advanceSync(9 * MINUTE + 1)
    assert.equal(held.view().kind, 'unavailable')
  })
})
