import assert from 'node:assert/strict'
import { test } from 'node:test'
import { describeBoots } from './promises/boot-rules.ts'

test('reboots are counted with what was tried, and whether anybody tried before the guard', () => {
  const boot = { attempts: 100, opened: 0, refused: 50, ahead: 1500 }
  assert.equal(
    describeBoots([boot, { ...boot, opened: 2, ahead: -10 }]),
    '2 reboot(s), 2 openings in 200 attempts, 100 refused; the prober began before the guard in 1',
  )
})
