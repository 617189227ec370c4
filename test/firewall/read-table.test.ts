/** Reading a table back where nft does not tell the truth. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readTable } from '../../node-guard/firewall/nft/table.ts'

test('a table that nft lists as nothing, and calls that a success, is a failure with its sentence', async () => {
  const read = await readTable(async () => ({ code: 0, stdout: '', stderr: '' }), 'inet pod2iam_guard')
  assert.ok(!read.ok)
  assert.match(read.detail, /^nft did not list table inet pod2iam_guard: /)
})
