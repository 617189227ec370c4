/** What the guard knows about the ways into a node while `ip` works, fails and works again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTopology } from '../../node-guard/firewall/node/topology.ts'
import type { Exec, ExecResult } from '../../node-guard/firewall/process/exec.ts'

const ok = (stdout: string): ExecResult => ({ code: 0, stdout, stderr: '' })
const links = (...names: string[]) => ok(JSON.stringify(names.map((ifname) => ({ ifname }))))

/** @param listed the results of `ip link show`, one after the other */
function waysWith(listed: ExecResult[]) {
  const logged: unknown[] = []
  const log = { error: (_: string, fields: { detail: string }) => logged.push(fields.detail) }
  const exec: Exec = async (_, args) => {
    if (args.includes('link')) return listed.shift() ?? links()
    return ok(args.includes('rule') ? '[{"priority":0,"src":"all","table":"local"}]' : '')
  }
  const ways = createTopology({
    exec,
    routeOptions: { metadata: ['169.254.169.254'], broker: ['169.254.170.24'] },
    fallback: () => ['eth0'],
    log: log as never,
  })
  return { ways, logged }
}

const FAILED: ExecResult = { code: 'missing', stdout: '', stderr: 'spawn ip ENOENT' }

test('the default routes are used before ip has answered and while it fails, with one message', async () => {
  const { ways, logged } = waysWith([FAILED, FAILED, links('eth0')])
  assert.deepEqual(ways.known(), { uplinks: ['eth0'], inner: [], outer: [] })
  assert.equal(await ways.look(), false)
  assert.equal(await ways.look(), false)
  assert.deepEqual(ways.known(), { uplinks: ['eth0'], inner: [], outer: [] })
  assert.match(
    ways.problem() ?? '',
    /^the node's interfaces could not be read.*ip cannot be run.*use the pod2iam image/,
  )
  assert.equal(logged.length, 1)
  assert.equal(await ways.look(), false)
  assert.equal(ways.problem(), undefined)
})

test('the last known interfaces are kept when ip fails or its output is cut off', async () => {
  const { ways } = waysWith([links('eth0', 'eth1'), FAILED, ok('[{"ifname":"et')])
  assert.equal(await ways.look(), true)
  for (const _ of ['fails', 'is cut']) {
    assert.equal(await ways.look(), false)
    assert.deepEqual(ways.known().uplinks, ['eth0', 'eth1'])
    assert.notEqual(ways.problem(), undefined)
  }
})

test('only a change that the rules need counts as a change', async () => {
  const { ways } = waysWith([links('eth0', 'eth1'), links('eth1', 'eth0'), links('eth0')])
  assert.equal(await ways.look(), true)
  assert.equal(await ways.look(), false)
  assert.equal(await ways.look(), true)
})
