/** Tables: what is left out, and what is wrapped. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { noPaint } from '../../cli/output/paint.ts'
import { withoutCommonDomain, withoutCommonStart } from '../../cli/output/shorten.ts'
import { table } from '../../cli/output/table.ts'
import { widest } from './support.ts'

const page = { width: 80, paint: noPaint }

test('a table of any content fits the width of the page without losing any of it', () => {
  const rows = Array.from({ length: 20 }, (_, row) =>
    ['arn:aws:iam::111111111111:role/'.repeat(row % 4), 'word '.repeat(row), 'x'.repeat(row * 7), '1'].map(
      (one) => one.trim(),
    ),
  )
  const text = table(['ROLE', 'WORDS', 'LONG', 'N'], rows, page)
  assert.ok(widest(text) <= 80, `a line has ${widest(text)} columns`)
  const letters = (all: string) => [...all.replace(/\s/g, '')].sort().join('')
  assert.equal(letters(text), letters(['ROLEWORDSLONGN', ...rows.flat()].join('')))
  assert.doesNotMatch(text, / \n/)
})

test('a short row stays on one line', () => {
  assert.equal(table(['A', 'B'], [['1', 'two']], page), 'A  B\n1  two\n')
})

test('role ARNs are shortened to names if all are of one account', () => {
  const [one, other] = ['arn:aws:iam::111111111111:role/', 'arn:aws:iam::222222222222:role/']
  assert.deepEqual(withoutCommonStart([`${one}a`, `${one}path/b`], ':role/'), {
    texts: ['a', 'path/b'],
    common: one,
  })
  assert.equal(withoutCommonStart([`${one}a`, `${other}b`], ':role/').common, '')
  assert.equal(withoutCommonStart([`${one}a`, 'b'], ':role/').common, '')
  assert.equal(withoutCommonStart([], ':role/').common, '')
})

test('nodes of one domain are shown by their first label if these are distinct', () => {
  assert.deepEqual(withoutCommonDomain(['ip-1.internal', 'ip-2.internal']), ['ip-1', 'ip-2'])
  for (const names of [
    ['ip-1.one', 'ip-2.two'],
    ['a', 'b'],
    ['a.one', 'a.one'],
  ])
    assert.deepEqual(withoutCommonDomain(names), names)
})
