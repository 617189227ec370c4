/** A sidecar that itself holds its pod's start, as a process in a pod's network. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { openWorkshop, type Workshop } from './support/index.ts'

const SCRIPT = join(import.meta.dirname, 'support', 'one-stage.ts')

describe('a sidecar that holds its pod’s start', needsNamespaces(), () => {
  let workshop: Workshop
  before(async () => {
    workshop = await openWorkshop()
  })
  after(() => workshop?.remove())

  test('lets the pod start once the block is in place, does not check again after a restart, and ends if the pod is deleted', async () => {
    const { directory, bundle, tokenFile } = workshop
    const argv = ['--net', process.execPath, SCRIPT, directory, bundle, tokenFile]
    const { stdout, stderr } = await promisify(execFile)('unshare', argv, { timeout: 120_000 })
    const saw = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
    assert.deepEqual(saw.open, { code: 'block-pending', started: false })
    assert.equal(saw.proven, true)
    assert.equal(saw.code, 1)
    assert.equal(
      stderr.trim().split('\n').at(-1),
      'pod2iam-sidecar: the pod is being deleted, so it is not started any more.',
    )
  })
})
