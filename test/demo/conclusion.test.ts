/** The last paragraph of the demo says what was shown, what was not, and what this machine could not show. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gapTable } from './attack.ts'
import { conclusion } from './conclusion.ts'

test('a run that showed everything ends with a summary and the number of checks', () => {
  const text = conclusion({ failures: [], omissions: [], shown: 21 }, '12.8 s').join('\n')
  assert.match(text, /^What you saw: .*credentials of its own role/)
  assert.match(text, /Everything shown: 21 of 21, in 12\.8 s\.$/)
})

test('a run that left something out names it, even if everything else was shown', () => {
  const text = conclusion({ failures: [], omissions: ['the block'], shown: 6 }, '5 s', true).join('\n')
  assert.match(text, /Left out on this machine: the block\./)
  assert.doesNotMatch(text, /killed node guard/, 'loopback shows no firewall')
})

test('a run with a failure names it, and has no summary', () => {
  const text = conclusion({ failures: ['the block stands'], omissions: [], shown: 20 }, '9 s').join('\n')
  assert.match(text, /^NOT SHOWN: the block stands$/m)
  assert.match(text, /1 of 21 not shown/)
  assert.doesNotMatch(text, /What you saw|Everything shown/)
})

test('the table compares both kinds of flushes, and names the default', () => {
  const rows = gapTable(
    { attempts: 250, answered: 3, openMs: 21.4 },
    { attempts: 300, answered: 0, openMs: 0 },
  )
  assert.match(rows[1] ?? '', /default.* 250 +3 +21 ms$/)
  assert.match(rows[2] ?? '', /guard\.ownedTable.* 300 +0 +0 ms$/)
  assert.equal(new Set(rows.map(({ length }) => length)).size, 1, 'columns')
})
