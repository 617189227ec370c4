/** The block is open as long as the repair takes. The benchmark measures this time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { startGuard } from './guard-process.ts'
import { openNode } from './node.ts'

const FLUSHES = 10

test(
  'the block is restored each time after nft flush ruleset, minutes before the next poll',
  needsNamespaces(),
  async (t) => {
    const node = await openNode()
    try {
      await (await node.agent('aws')).listen({ host: '0.0.0.0', port: 80, name: 'aws' })
      const guard = await startGuard(node, ['--poll-interval=5m'])
      await guard.becomes('ready')
      const pod = await node.agent('pod1')
      await pod.hammer({ host: '169.254.169.254', port: 80 })
      for (let flush = 1; flush <= FLUSHES; flush++) {
        const before = await guard.repairs()
        await node.must('node', ['nft', 'flush ruleset'])
        await until('the repair', async () => (await guard.repairs()) > before)
        const refused = async () =>
          (await pod.tcp({ host: '169.254.169.254', port: 80 })).outcome === 'ECONNREFUSED'
        await until('a refusal', refused)
      }
      const { tried, gaps } = await pod.rest({})
      const sorted = gaps.toSorted((a, b) => a - b)
      const [median = 0, worst = 0] = [sorted[sorted.length >> 1], sorted.at(-1)]
      // A prober without CPU time on a busy machine may miss some gaps, but not all.
      assert.ok(gaps.length > 0, 'the prober saw none of the flushes')
      t.diagnostic(
        `${FLUSHES} flushes, ${gaps.length} gaps in ${tried} probes: median ${median.toFixed(1)} ms, worst ${worst.toFixed(1)} ms`,
      )
    } finally {
      await node.close()
    }
  },
)
