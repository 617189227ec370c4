/** The self-test through a real redirect, and requests to the real addresses, in a network namespace. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { needsPeer, peer } from '../peers/peers.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { credentialsBody, openWorkshop } from './support/index.ts'

const needs = { ...needsPeer('nft'), ...needsPeer('unshare'), ...needsNamespaces('root') }

const MODE = 'AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE'

/** Versions of awscrt: 0.16 sends no Host, and 0.38 an IPv6 address without brackets. */
const CLIENTS: readonly [what: string, command: string, env: Record<string, string>][] = [
  ['awscrt 0.16', 'whoami-awscrt-0.16', {}],
  ['awscrt 0.38', 'whoami-awscrt-0.38', {}],
  ['awscrt 0.38 in IPv6 mode', 'whoami-awscrt-0.38', { [MODE]: 'IPv6' }],
]

/** What the script and a client saw in a network namespace of their own. */
async function seenInside(...client: readonly string[]) {
  const workshop = await openWorkshop()
  try {
    const script = join(import.meta.dirname, 'support/redirected.ts')
    const { directory, bundle, tokenFile } = workshop
    const inside = [process.execPath, script, directory, bundle, tokenFile, ...client]
    const { stdout } = await promisify(execFile)('unshare', ['--net', ...inside], { timeout: 180_000 })
    return JSON.parse(stdout)
  } finally {
    workshop.remove()
  }
}

describe('behind the redirect', () => {
  test(
    'the sidecar is ready once 169.254.169.254 leads to it, and serves both metadata addresses',
    needs,
    async () => {
      const seen = await seenInside()
      assert.equal(seen.before, 'self-test-pending')
      // The sidecar checks every 10 ms, but the machine may be busy.
      assert.ok(seen.readyAfter < 60_000, `${seen.readyAfter} ms`)
      assert.deepEqual([seen.v4, seen.v6], ['team/reader', 'team/reader'])
    },
  )

  for (const [what, command, env] of CLIENTS)
    test(`${what} gets credentials`, { ...needs, ...needsPeer(command) }, async () => {
      const seen = await seenInside(JSON.stringify({ command: peer(command), env }))
      const { AccessKeyId, Token } = credentialsBody()
      assert.deepEqual(seen.client, { accessKeyId: AccessKeyId, sessionToken: Token })
    })
})
