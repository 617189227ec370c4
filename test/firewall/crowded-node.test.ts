/** A node with thousands of Services: the memory of the guard and its commands may not grow with the rules of others. */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { GUARD_TABLE } from '../../node-guard/firewall/rules/guard-nft.ts'
import { type MemoryCgroup, memoryCgroup } from '../bench/cgroup.ts'
import { iptablesServices, nftServices } from '../bench/firewall/services.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { type GuardProcess, NET_ADMIN_ONLY, startGuard } from './guard-process.ts'
import { openNode, type TestNode } from './node.ts'

/** The chart's memory limit of the firewall. */
const LIMIT = 64 * 1024 * 1024
/** Twice the number that made `nft monitor` kill a guard. */
const SERVICES = 3000

const MODES = [
  ['iptables', 'nft', ['iptables-nft-restore'], iptablesServices(SERVICES)],
  ['iptables', 'iptables', ['iptables-nft-restore'], iptablesServices(SERVICES)],
  ['nftables', 'nft', ['nft', '-f', '-'], nftServices(SERVICES)],
] as const

for (const [mode, backend, load, rules] of MODES)
  describe(
    `with ${SERVICES} Services of kube-proxy's mode ${mode} and backend ${backend}`,
    needsCgroup(),
    () => {
      let node: TestNode
      let cgroup: MemoryCgroup
      let guard: GuardProcess | undefined
      before(async () => {
        node = await openNode()
        cgroup = memoryCgroup(`pod2iam-crowded-${process.pid}-${mode}-${backend}`, LIMIT)
        await node.must('node', load, rules)
      })
      afterEach(() => guard?.end('SIGKILL'))
      after(async () => {
        await node?.close()
        await until('the cgroup is empty', async () => {
          try {
            cgroup.remove()
            return true
          } catch {
            return false
          }
        })
      })

      test('the guard starts, repairs and is never killed within the chart’s limit', async () => {
        const inside = ['sh', '-c', `echo 0 >${cgroup.procs}; exec "$@"`, 'sh']
        guard = await startGuard(
          node,
          ['--poll-interval=5m', `--backend=${backend}`],
          [...inside, ...NET_ADMIN_ONLY],
        )
        await guard.becomes('ready')
        const refused = async () =>
          (await (await node.agent('pod1')).tcp({ host: '169.254.169.254', port: 80 })).outcome ===
          'ECONNREFUSED'
        const ours =
          backend === 'nft'
            ? ['nft', `delete table ${GUARD_TABLE}`]
            : ['sh', '-c', "printf '*mangle\\nCOMMIT\\n*filter\\nCOMMIT\\n' | iptables-nft-restore"]
        for (let round = 1; round <= 3; round++) {
          await node.must('node', ours)
          await until('it is repaired', async () => ((await guard?.repairs()) ?? 0) >= round)
          assert.ok(await refused())
        }
        // This gives more notifications at once than fit into a socket's buffer.
        await node.must('node', ['nft', 'flush ruleset'])
        await until('it is repaired again', refused)
        assert.equal(cgroup.kills(), 0)
        assert.equal(guard.child.exitCode, null)
      })
    },
  )

/** Options for `describe()` that skip it with the reason if there can be no cgroup. */
function needsCgroup(): { skip?: string } {
  const needs = needsNamespaces()
  if (needs.skip !== undefined) return { skip: String(needs.skip) }
  try {
    memoryCgroup(`pod2iam-probe-${process.pid}`, LIMIT).remove()
    return {}
  } catch (error) {
    return { skip: error instanceof Error ? error.message : String(error) }
  }
}
