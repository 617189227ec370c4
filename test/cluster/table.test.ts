import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Verdict } from './promise.ts'
import { exitCodeOf, tableOf } from './table.ts'

const verdict = (outcome: Verdict['outcome'], detail = 'so', promise = 'it holds'): Verdict => ({
  group: 'Group',
  promise,
  outcome,
  detail,
  seconds: 1.25,
})

test('the table lists each promise under its group, why one was left out, and the counts', () => {
  const text = tableOf([verdict('kept'), verdict('left out', 'no IPv6', 'it holds with IPv6')])
  assert.deepEqual(text.split('\n'), [
    '',
    'Group',
    '  ✔ it holds            so (1.3 s)',
    '  – it holds with IPv6  no IPv6',
    '',
    'promises: 1 kept, 0 broken, 1 left out',
  ])
})

test('the table repeats a broken promise in full at its end', () => {
  const text = tableOf([verdict('broken', 'first line\nsecond line'), verdict('kept')])
  assert.match(text, / {2}✖ it holds {2}first line \(1\.3 s\)\n/)
  assert.match(text, /\n✖ Group: it holds\n {4}first line\n {4}second line\n\npromises: 1 kept, 1 broken/)
})

test('the exit code is 1 after a broken promise, and when no promise could be shown', () => {
  assert.equal(exitCodeOf([verdict('kept'), verdict('left out')]), 0)
  assert.equal(exitCodeOf([verdict('kept'), verdict('broken')]), 1)
  assert.equal(exitCodeOf([verdict('left out')]), 1)
  assert.equal(exitCodeOf([]), 1)
})
