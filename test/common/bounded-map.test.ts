import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BoundedMap } from '../../common/bounded-map.ts'

test('a full map evicts its oldest entry, and setting an entry again makes it the newest', () => {
  const evicted: [string, number][] = []
  const map = new BoundedMap<string, number>(2, (value, key) => evicted.push([key, value]))
  map.set('a', 1).set('b', 2).set('a', 3).set('c', 4)
  assert.deepEqual(
    [...map],
    [
      ['a', 3],
      ['c', 4],
    ],
  )
  assert.deepEqual(evicted, [['b', 2]])
})

test('an entry that is deleted or replaced is not reported as evicted', () => {
  const map = new BoundedMap<string, number>(1, () => assert.fail('nothing had to be evicted'))
  map.set('a', 1).set('a', 2)
  map.delete('a')
  map.set('b', 3)
  assert.deepEqual([...map], [['b', 3]])
})
