/** The metadata snapshot: how fresh it is, and what happens to it when a reading fails. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { metadataSnapshot } from '../../node-guard/broker/instance/snapshot.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { captureLog } from '../support/log.ts'
import { service } from './metadata-service.ts'

/** Settings and dependencies of {@link metadataSnapshot}, with its clock and its log lines. */
function surroundings(allowed: readonly string[] = []) {
  const clock = fakeClock()
  const stopping = new AbortController()
  const { log, lines } = captureLog('warn')
  const settings = { allowed, region: 'eu-west-1' }
  return {
    clock,
    lines,
    settings,
    by: { clock, log, signal: stopping.signal },
    stop: () => stopping.abort(),
  }
}

describe('the snapshot', () => {
  test('is read again within six minutes, and keeps its values when a reading fails', async () => {
    const { clock, settings, by, stop } = surroundings()
    const leaves: Record<string, string> = { 'instance-type': 'm5.large', 'security-groups': 'a' }
    const state = { away: false }
    const there = service(leaves)
    const get = async (path: string) => {
      if (state.away) throw new Error('away')
      return there.get(path)
    }
    const { current } = metadataSnapshot({ get, close: () => {} }, settings, by)
    assert.deepEqual(current(), { 'placement/region': 'eu-west-1' })
    await clock.advance(1)
    assert.equal(current()['security-groups'], 'a')
    leaves['security-groups'] = 'a\nb'
    delete leaves['instance-type']
    await clock.advance(6 * 60_000)
    assert.equal(current()['security-groups'], 'a\nb')
    assert.equal(current()['instance-type'], undefined)
    state.away = true
    await clock.advance(60 * 60_000)
    assert.equal(current()['security-groups'], 'a\nb')
    state.away = false
    leaves['security-groups'] = 'c'
    await clock.advance(31_000)
    assert.equal(current()['security-groups'], 'c')
    stop()
  })

  test('keeps the old value of a path that fails, and reads it again soon', async () => {
    const { clock, settings, by, stop } = surroundings()
    const leaves: Record<string, string> = { hostname: 'h', 'instance-type': 'm5.large' }
    const state = { failing: false }
    const there = service(leaves)
    const get = async (path: string) => {
      if (state.failing && path.endsWith('hostname')) throw new Error('refused')
      return there.get(path)
    }
    const { current } = metadataSnapshot({ get, close: () => {} }, settings, by)
    await clock.advance(1)
    state.failing = true
    leaves['instance-type'] = 'm6.large'
    await clock.advance(6 * 60_000)
    assert.deepEqual([current().hostname, current()['instance-type']], ['h', 'm6.large'])
    state.failing = false
    leaves.hostname = 'other'
    await clock.advance(6 * 60_000)
    assert.equal(current().hostname, 'other')
    stop()
  })

  test('can be waited for until the first reading is over, which may fail', async () => {
    for (const [get, expected] of [
      [async (path: string) => (path.endsWith('instance-id') ? 'i-1' : undefined), { 'instance-id': 'i-1' }],
      [() => Promise.reject(new Error('away')), {}],
    ] as const) {
      const { settings, by, stop } = surroundings()
      const { current, firstRead } = metadataSnapshot({ get, close: () => {} }, settings, by)
      await firstRead
      assert.deepEqual(current(), { 'placement/region': 'eu-west-1', ...expected })
      stop()
    }
  })

  test('can be waited for no longer than five seconds, even if the metadata service does not answer', async () => {
    const { clock, settings, by, stop } = surroundings()
    const never = { get: () => new Promise<undefined>(() => {}), close: () => {} }
    const { current, firstRead } = metadataSnapshot(never, settings, by)
    let waited = false
    void firstRead.then(() => {
      waited = true
    })
    await clock.advance(4999)
    assert.equal(waited, false)
    await clock.advance(1)
    assert.equal(waited, true)
    assert.deepEqual(current(), { 'placement/region': 'eu-west-1' })
    stop()
  })

  test('has an allowed spot notice within 17 seconds and an allowed tag within 66, and does not request other paths so often', async () => {
    const { clock, settings, by, stop } = surroundings([
      'spot/',
      'tags/instance/',
      'autoscaling/target-lifecycle-state',
    ])
    const leaves: Record<string, string> = { 'tags/instance/team': 'a', hostname: 'h' }
    const imds = service(leaves)
    const { current } = metadataSnapshot(imds, settings, by)
    await clock.advance(1000)
    const before = imds.asked.filter((path) => path.endsWith('hostname')).length
    leaves['spot/instance-action'] = '{"action":"terminate"}'
    leaves['autoscaling/target-lifecycle-state'] = 'Terminated'
    await clock.advance(17_000)
    assert.equal(current()['spot/instance-action'], '{"action":"terminate"}')
    assert.equal(current()['autoscaling/target-lifecycle-state'], 'Terminated')
    leaves['tags/instance/team'] = 'b'
    await clock.advance(66_000)
    assert.equal(current()['tags/instance/team'], 'b')
    assert.equal(imds.asked.filter((path) => path.endsWith('hostname')).length, before)
    stop()
  })

  test('logs once which values are left out', async () => {
    const { clock, lines, settings, by, stop } = surroundings()
    metadataSnapshot(service({ mac: 'no address' }), settings, by)
    await clock.advance(60 * 60_000)
    stop()
    assert.equal(lines.length, 1)
    assert.match(JSON.stringify(lines[0]), /"paths":"meta-data\/mac"/)
  })
})
