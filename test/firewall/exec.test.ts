/** Running nft, ip and iptables. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { exec } from '../../node-guard/firewall/process/exec.ts'

const sh = (script: string) => ['-c', script]

test('exec keeps only the requested lines, wherever the pipe splits them', async () => {
  // The output is larger than a pipe's buffer, so it arrives in pieces.
  const script = 'i=0; while [ $i -lt 20000 ]; do echo "line $i of many"; i=$((i + 1)); done'
  const kept = await exec('sh', sh(script), { keepLine: (line) => line.startsWith('line 1999') })
  const numbers = [1999, ...Array.from({ length: 10 }, (_, digit) => 19990 + digit)]
  assert.equal(kept.stdout, numbers.map((number) => `line ${number} of many\n`).join(''))
})

test('exec keeps the requested lines even after more output than its limit', async () => {
  const script = 'head -c 6000000 /dev/zero | tr "\\0" "x" | fold -w 100; echo; echo wanted'
  const { stdout } = await exec('sh', sh(script), { keepLine: (line) => line === 'wanted' })
  assert.equal(stdout, 'wanted\n')
})

test('exec passes input and environment, and works also if the input is not read', async () => {
  const { stdout } = await exec('sh', sh('cat; echo "$WHERE"'), { input: 'in\n', env: { WHERE: 'here' } })
  assert.equal(stdout, 'in\nhere\n')
  const unread = await exec('sh', sh('exec <&-; exit 3'), { input: 'x'.repeat(1_000_000) })
  assert.equal(unread.code, 3)
})

test('exec distinguishes a missing command from one that hangs', async () => {
  assert.equal((await exec('pod2iam-no-such-command', [])).code, 'missing')
  assert.equal((await exec('sleep', ['60'], { timeoutMs: 20 })).code, 'timeout')
})
