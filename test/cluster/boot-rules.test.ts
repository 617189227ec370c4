import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lineLogger } from '../../common/log.ts'
import { describeBoots, verifiedAt } from './promises/boot-rules.ts'

test('the evidence of reboots counts all attempts, and reboots in which the prober began before the guard', () => {
  const boot = { attempts: 100, opened: 0, refused: 50, ahead: 1540 }
  assert.equal(
    describeBoots([boot, { ...boot, opened: 2, ahead: -10 }]),
    "2 reboot(s), 2 openings in 200 attempts, 100 refused; the prober began before the guard's rules stood in 1, by 1.5 s at most",
  )
})

test('the time at which the rules were loaded is that of the first verification in the guard’s log', () => {
  let text = 'a word of Node itself\n'
  let now = 1_000
  const log = lineLogger(
    'firewall',
    'info',
    (line) => {
      text += line
    },
    () => now,
  )
  log.info('firewall starts')
  assert.equal(verifiedAt(text), undefined)
  for (now of [2_000, 3_000]) log.info('rules verified')
  assert.equal(verifiedAt(text), 2_000)
})
