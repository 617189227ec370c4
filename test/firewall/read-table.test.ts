/** Reading a table back when the result of nft is wrong. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readTable } from '../../node-guard/firewall/nft/table.ts'

test('an empty list from nft with exit code 0 is a failure with its own message', async () => {
  const read = await readTable(async () => ({ code: 0, stdout: '', stderr: '' }), 'inet pod2iam_guard')
  assert.ok(!read.ok)
  assert.match(read.detail, /^nft did not list table inet pod2iam_guard: /)
})
