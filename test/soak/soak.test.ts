/** Five seconds of the soak on every run, and the faults that its judges report. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { judge } from './attacker.ts'
import { ATTACK_NAMES, drawAttack } from './attacks.ts'
import { flatness, MIB } from './memory.ts'
import { type LogSummary, take } from './process.ts'
import { report } from './report.ts'
import { soak } from './soak.ts'
import { faultsOf } from './verdict.ts'

const STRICT = { entitled: false, never2xx: true }
const METADATA = { kind: 'metadata' } as const
const TOKEN = `${'A'.repeat(53)}Q==`

describe('soak', () => {
  test('five seconds of hostile input harm neither the sidecar nor a good client', async (t) => {
    // Generous times, because this runs beside other tests on two cores; they do not change what is right.
    const seen = await soak({
      seed: 1,
      durationMs: 5000,
      rate: 40,
      requestRate: 150,
      connections: 200,
      timeoutMs: 10_000,
      only: [],
      sampleMs: 500,
    })
    t.diagnostic(report(seen))
    assert.deepEqual(faultsOf(seen, { p99: 5000, lateShare: 1, exitMs: 20_000, flat: false }), [])
    assert.ok(seen.tally.attacks > 20, `only ${seen.tally.attacks} attacks`)
    assert.ok(seen.good.times.length > 20, `only ${seen.good.times.length} good answers`)
  })

  test('a seed and a number always draw the same attack, and another seed draws other ones', () => {
    const drawn = (seed: number) =>
      Array.from({ length: 200 }, (_, number) => drawAttack(number, { seed, only: [], token: TOKEN }))
    assert.deepEqual(drawn(7), drawn(7))
    assert.notDeepEqual(drawn(7), drawn(8))
  })

  test('every kind of attack is drawn, and each is bounded', () => {
    const names = new Set<string>()
    for (let number = 0; number < 3000; number++) {
      const { name, attack } = drawAttack(number, { seed: 1, only: [], token: TOKEN })
      names.add(name)
      const bytes = attack.steps.reduce((sum, step) => sum + ('send' in step ? step.send.length : 0), 0)
      const waits = attack.steps.reduce((sum, step) => sum + ('wait' in step ? step.wait : 0), attack.linger)
      assert.ok(bytes <= 256 * 1024 && waits <= 16_000 && attack.connections <= 60, name)
    }
    assert.deepEqual([...names].sort(), ATTACK_NAMES)
  })

  test('an answer with a secret is a fault only if the client had no right to it', () => {
    const answer = 'HTTP/1.1 403 Forbidden\r\n\r\n{"SecretAccessKey" : "soakSecretKey/1"}'
    assert.match(judge(answer, STRICT, METADATA).fault ?? '', /soakSecretKey/)
    assert.equal(judge(answer, { entitled: true, never2xx: false }, METADATA).fault, undefined)
  })

  test('an ARN or an account at the health port is a fault', () => {
    const answer = 'HTTP/1.1 200 OK\r\n\r\n{"detail":"arn:aws:iam::1:role/x"}'
    assert.match(
      judge(answer, { entitled: true, never2xx: false }, { kind: 'health' }).fault ?? '',
      /arn:aws/,
    )
  })

  for (const [what, answer] of [
    ['a 2xx for what must be refused', 'HTTP/1.1 400 Bad Request\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'],
    ['a 500', 'HTTP/1.1 500 Internal Server Error\r\n\r\n'],
    ['something that is not HTTP', 'Segmentation fault'],
  ] as const)
    test(`${what} is a fault`, () => assert.notEqual(judge(answer, STRICT, METADATA).fault, undefined))

  test('refusals and silence are no fault', () => {
    for (const answer of ['', 'HTTP/1.1 403 Forbidden\r\n\r\n', 'HTTP/1.1 503 Service Unavailable\r\n\r\n'])
      assert.equal(judge(answer, STRICT, METADATA).fault, undefined)
  })

  test('memory that grows steadily is not flat; memory with warm-up and noise is', () => {
    const run = (sample: (index: number) => number) => Array.from({ length: 120 }, (_, n) => sample(n) * MIB)
    assert.equal(flatness(run((index) => 12 + index / 20)).flat, false)
    assert.equal(flatness(run((index) => (index < 25 ? 10 + index / 10 : 13 + (index % 3) / 2))).flat, true)
  })

  test('a log line that has a secret or is not JSON is a fault, and session tokens are collected', () => {
    const log: LogSummary = {
      lines: 0,
      bytes: 0,
      longest: 0,
      errors: [],
      faults: [],
      byMessage: {},
      tokenLike: new Set(),
    }
    take(log, '{"msg":"request","level":"info","path":"/soakSessionTokent"}')
    take(log, 'Error: at line 1')
    take(log, `{"msg":"request","level":"info","path":"/${TOKEN}"}`)
    assert.equal(log.faults.length, 2)
    assert.deepEqual([...log.tokenLike], [TOKEN])
  })
})
