/** Running nft, ip and iptables. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { exec } from '../../node-guard/firewall/process/exec.ts'

const sh = (script: string) => ['-c', script]

test('keeps only the lines that are asked for, wherever the pipe cuts them', async () => {
  // More than a pipe holds: it comes in pieces.
  const script = 'i=0; while [ $i -lt 20000 ]; do echo "line $i of many"; i=$((i + 1)); done'
  const kept = await exec('sh', sh(script), { keepLine: (line) => line.startsWith('line 1999') })
  const numbers = [1999, ...Array.from({ length: 10 }, (_, digit) => 19990 + digit)]
  assert.equal(kept.stdout, numbers.map((number) => `line ${number} of many\n`).join(''))
})

test('more output than it would ever keep does not crowd out the lines that are asked for', async () => {
  const script = 'head -c 6000000 /dev/zero | tr "\\0" "x" | fold -w 100; echo; echo wanted'
  const { stdout } = await exec('sh', sh(script), { keepLine: (line) => line === 'wanted' })
  assert.equal(stdout, 'wanted\n')
})

test('gives input and environment, and takes no harm when the input is not read', async () => {
  const { stdout } = await exec('sh', sh('cat; echo "$WHERE"'), { input: 'in\n', env: { WHERE: 'here' } })
  assert.equal(stdout, 'in\nhere\n')
  const unread = await exec('sh', sh('exec <&-; exit 3'), { input: 'x'.repeat(1_000_000) })
  assert.equal(unread.code, 3)
})

test('tells a command that is missing from one that hangs', async () => {
  assert.equal((await exec('pod2iam-no-such-command', [])).code, 'missing')
  assert.equal((await exec('sleep', ['60'], { timeoutMs: 20 })).code, 'timeout')
})
