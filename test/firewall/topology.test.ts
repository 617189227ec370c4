/** What the guard knows of the ways into a node while `ip` works, fails and works again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTopology } from '../../node-guard/firewall/node/topology.ts'
import type { Exec, ExecResult } from '../../node-guard/firewall/process/exec.ts'

const ok = (stdout: string): ExecResult => ({ code: 0, stdout, stderr: '' })
const links = (...names: string[]) => ok(JSON.stringify(names.map((ifname) => ({ ifname }))))

/** @param listed what `ip link show` gives, one after the other */
function waysWith(listed: ExecResult[]) {
  const told: unknown[] = []
  const log = { error: (_: string, fields: { detail: string }) => told.push(fields.detail) }
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
  return { ways, told }
}

const FAILED: ExecResult = { code: 'missing', stdout: '', stderr: 'spawn ip ENOENT' }

test('before ip has answered, and while it cannot, the default routes stay in force, and one sentence says so', async () => {
  const { ways, told } = waysWith([FAILED, FAILED, links('eth0')])
  assert.deepEqual(ways.known(), { uplinks: ['eth0'], inner: [], outer: [] })
  assert.equal(await ways.look(), false)
  assert.equal(await ways.look(), false)
  assert.deepEqual(ways.known(), { uplinks: ['eth0'], inner: [], outer: [] })
  assert.match(
    ways.problem() ?? '',
    /^the node's interfaces could not be read.*ip cannot be run.*use the pod2iam image/,
  )
  assert.equal(told.length, 1)
  assert.equal(await ways.look(), false)
  assert.equal(ways.problem(), undefined)
})

test('what was seen last is kept when ip fails or its output is cut', async () => {
  const { ways } = waysWith([links('eth0', 'eth1'), FAILED, ok('[{"ifname":"et')])
  assert.equal(await ways.look(), true)
  for (const _ of ['fails', 'is cut']) {
    assert.equal(await ways.look(), false)
    assert.deepEqual(ways.known().uplinks, ['eth0', 'eth1'])
    assert.notEqual(ways.problem(), undefined)
  }
})

test('only a change of what the rules need counts as one', async () => {
  const { ways } = waysWith([links('eth0', 'eth1'), links('eth1', 'eth0'), links('eth0')])
  assert.equal(await ways.look(), true)
  assert.equal(await ways.look(), false)
  assert.equal(await ways.look(), true)
})
