/** The count of sidecars by release, with a few bytes for each. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { tally } from '../../injector/pod-watch/tally.ts'

test('the tally counts like a map from uid to release, whatever is added and removed', () => {
  const uid = fc.integer({ min: 0, max: 400 }).map((number) => `00000000-0000-4000-8000-${number}`)
  const step = fc.record({
    uid,
    version: fc.option(fc.constantFrom('0.1.0', '0.2.0', 'unknown'), { nil: undefined }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 2000 }), (steps) => {
      const [counted, model] = [tally(), new Map<string, string>()]
      for (const { uid, version } of steps) {
        if (version === undefined) {
          counted.delete(uid)
          model.delete(uid)
        } else {
          counted.set(uid, version)
          model.set(uid, version)
        }
      }
      const expected = new Map<string, number>()
      for (const version of model.values()) expected.set(version, (expected.get(version) ?? 0) + 1)
      assert.deepEqual(new Map([...counted.counts()].sort()), new Map([...expected].sort()))
      assert.equal(counted.size(), model.size)
    }),
    { numRuns: 50 },
  )
})

test('150,000 pods are each counted once, and none remains when all are deleted', () => {
  const counted = tally()
  const uids = Array.from(
    { length: 150_000 },
    (_, index) => `${index.toString(16).padStart(8, '0')}-4000-8000`,
  )
  for (const round of [1, 2]) for (const uid of uids) counted.set(uid, `0.${round}.0`)
  assert.deepEqual([...counted.counts()], [['0.2.0', 150_000]])
  for (const uid of uids) counted.delete(uid)
  assert.deepEqual([counted.size(), counted.counts().size], [0, 0])
})

test('pods beyond the bound are left out, and counted when others have been deleted', () => {
  const counted = tally(2)
  for (const uid of ['a', 'b', 'c', 'd']) counted.set(uid, '0.1.0')
  // Updates of pods that were left out do not count them as left out again.
  for (let turn = 0; turn < 5; turn++) counted.set('c', '0.1.0', false)
  assert.deepEqual([counted.size(), counted.leftOut()], [2, 2])
  counted.delete('d')
  counted.delete('a')
  counted.set('c', '0.1.0', false)
  assert.deepEqual([counted.size(), counted.leftOut(), counted.counts().get('0.1.0')], [2, 0, 2])
})

test('the number of distinct releases is bounded, and one that no pod has any more makes room', () => {
  const counted = tally()
  for (let index = 0; index < 25; index++) counted.set(`u${index}`, `0.0.${index}`)
  assert.deepEqual([counted.counts().size, counted.counts().get('other')], [21, 5])
  counted.delete('u3')
  counted.set('new', '1.0.0')
  assert.equal(counted.counts().get('1.0.0'), 1)
  for (let index = 20; index < 25; index++) counted.delete(`u${index}`)
  assert.equal(counted.counts().get('other'), undefined)
})
