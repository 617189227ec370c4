import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeDirectory } from './make-directory.ts'

test('a directory and its parents are created, and may exist already', () => {
  const top = mkdtempSync(join(tmpdir(), 'make-'))
  try {
    for (const path of ['a/b/c', 'a/b/c', 'a/d']) {
      makeDirectory(join(top, path))
      assert.ok(statSync(join(top, path)).isDirectory())
    }
  } finally {
    rmSync(top, { recursive: true })
  }
})

test('creating a directory below an ended process fails instead of never returning', {
  skip: process.platform !== 'linux',
}, () => {
  const { pid } = spawnSync('true')
  assert.throws(() => makeDirectory(`/proc/${pid}/root/run/sandbox`), { code: 'ENOENT' })
})
