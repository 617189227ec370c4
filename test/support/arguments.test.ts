import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

for (const command of ['bench', 'soak', 'simulate'])
  test(`npm run ${command} answers an unknown option with the reason and its usage`, () => {
    const script = fileURLToPath(new URL(`../${command}/main.ts`, import.meta.url))
    const { status, stderr } = spawnSync(process.execPath, [script, '--help'], { encoding: 'utf8' })
    assert.equal(status, 2, stderr)
    assert.match(stderr, new RegExp(`Unknown option '--help'.*\n.*Usage: npm run ${command}`))
    assert.doesNotMatch(stderr, /\n +at /)
  })
