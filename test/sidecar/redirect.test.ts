/** The self-test through a real redirect, and requests to the real addresses, in a network namespace. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { needsPeer } from '../peers.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { openWorkshop } from './support/index.ts'

const needs = { ...needsPeer('nft'), ...needsPeer('unshare'), ...needsNamespaces('root') }

describe('behind the redirect', () => {
  test(
    'the sidecar is ready once 169.254.169.254 leads to it, and serves both metadata addresses',
    needs,
    async () => {
      const workshop = await openWorkshop()
      try {
        const script = join(import.meta.dirname, 'support/redirected.ts')
        const inside = [process.execPath, script, workshop.directory, workshop.bundle, workshop.tokenFile]
        const { stdout } = await promisify(execFile)('unshare', ['--net', ...inside], { timeout: 120_000 })
        const seen = JSON.parse(stdout)
        assert.equal(seen.before, 'self-test-pending')
        // It asks every 10 ms; what it asks, and who asks it, share the machine with others.
        assert.ok(seen.readyAfter < 60_000, `${seen.readyAfter} ms`)
        assert.deepEqual([seen.v4, seen.v6], ['team/reader', 'team/reader'])
      } finally {
        workshop.remove()
      }
    },
  )
})
