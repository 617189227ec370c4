/** Commands that share one deadline. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readNatRules, redirectsOf } from '../../node-guard/firewall/iptables/nat-rules.ts'
import { withDeadline } from '../../node-guard/firewall/process/bounded.ts'
import { type Exec, exec } from '../../node-guard/firewall/process/exec.ts'

const LATE = { code: 'timeout', stdout: '', stderr: 'it took too long' }

test('each command has the time that those before it left, and none is started without time', async () => {
  let now = 0
  const given: unknown[] = []
  const slow: Exec = async (_command, _args, options) => {
    given.push(options?.timeoutMs)
    now += 400
    return { code: 0, stdout: 'x', stderr: '' }
  }
  const bounded = withDeadline(1000, slow, () => now)
  const results = []
  for (let i = 0; i < 4; i++) results.push((await bounded('nft', [], { timeoutMs: 700 })).code)
  assert.deepEqual(given, [700, 600, 200])
  assert.deepEqual(results, [0, 0, 0, 'timeout'])
})

test('a command that does not end is killed, and its tables count as not read', async () => {
  const bounded = withDeadline(
    1,
    () => exec('sleep', ['600'], { timeoutMs: 1 }),
    () => 0,
  )
  assert.deepEqual(await bounded('iptables-nft-save', []), LATE)
  const { rules, unread } = await readNatRules(bounded, redirectsOf(['169.254.169.254']), {
    read: async () => '',
  })
  assert.deepEqual(rules, [])
  assert.match(unread[0] ?? '', /iptables-nft could not be read \(it took too long\)/)
})
