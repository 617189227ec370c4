/** Short soaks of injector and broker on every run, and the faults that their judge reports. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { memoryCgroup } from '../bench/cgroup.ts'
import { soakBroker } from './broker/soak.ts'
import { soakInjector } from './injector/soak.ts'
import { MIB } from './memory.ts'
import { type ServiceObservations, serviceFaults, serviceReport } from './service-verdict.ts'

/** Why no process can run under a memory limit here, or false. */
function noCgroup(): string | false {
  try {
    memoryCgroup(`pod2iam-probe-${process.pid}`, 64 * MIB).remove()
    return false
  } catch (error) {
    return `no memory cgroup can be made: ${error instanceof Error ? error.message : error}`
  }
}

const skip = noCgroup()

describe('soaks of services', () => {
  for (const addresses of [1, 20])
    test(`the injector survives the worst reviews from ${addresses} address(es), and a good tenant gets its pods`, {
      skip,
    }, async (t) => {
      const seen = await soakInjector({ seed: 1, durationMs: 5000, addresses, connections: 20 })
      t.diagnostic(serviceReport({ ...seen, statuses: seen.tally.statuses, faults: [] }))
      assert.deepEqual([seen.isAlive, seen.kills, seen.failures], [true, 0, 0])
      assert.ok(seen.times.length > 0)
      assert.ok((seen.tally.statuses['200'] ?? 0) > 0, 'nobody attacked')
      assert.ok(seen.tally.longestAnswer < 256 * 1024, `${seen.tally.longestAnswer} bytes`)
    })

  test('the broker survives hostile pods, gives them nothing, and gives a good pod its credentials', {
    skip,
  }, async (t) => {
    const seen = await soakBroker({ seed: 1, durationMs: 5000, connections: 50 })
    const failures = seen.failures.length
    t.diagnostic(serviceReport({ ...seen, failures, statuses: seen.tally.statuses, faults: [] }))
    assert.deepEqual([seen.isAlive, seen.kills, seen.failures, seen.tally.leaks], [true, 0, [], 0])
    assert.ok(seen.times.length > 0)
    assert.ok(seen.tally.connections > 0, 'nobody attacked')
  })
})

describe('the judge of services', () => {
  const good: ServiceObservations = {
    times: [1, 2, 3],
    failures: 0,
    peak: 10,
    samples: [1],
    kills: 0,
    isAlive: true,
    statuses: { '200': 1 },
    faults: [],
  }
  const bounds = { p99: 100, limit: 1000 }

  test('reports nothing when all requirements are met', () =>
    assert.deepEqual(serviceFaults(good, bounds), []))
  for (const [what, change] of [
    ['a service that has ended', { isAlive: false }],
    ['a kill for memory', { kills: 1 }],
    ['a good client without any answer', { times: [] }],
    ['a failed request of the good client', { failures: 1 }],
    ['late answers', { times: [1, 200] }],
    ['memory that reached the limit', { peak: 1000 }],
    ['that nobody attacked', { statuses: {} }],
    ['an answer that an attacker should not get', { faults: ['It leaked.'] }],
  ] as const)
    test(`reports ${what}`, () => assert.equal(serviceFaults({ ...good, ...change }, bounds).length, 1))
})
