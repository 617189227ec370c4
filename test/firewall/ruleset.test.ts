/** The guard's ruleset against real packets, in every topology. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { tableCommands } from '../../node-guard/firewall/nft/commands.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { AS_DESIGNED, prepare, probe, RULESET, WITHOUT_RULES } from './battery.ts'
import { type NodeKind, openNode, type TestNode } from './node.ts'

for (const kind of ['routed', 'bridge0', 'bridge1'] as const satisfies NodeKind[])
  describe(`guard ruleset, ${kind}`, needsNamespaces(), () => {
    let node: TestNode
    before(async () => {
      node = await openNode(kind)
      await prepare(node)
    })
    after(() => node?.close())

    test('without rules every hole is open, so that the probes can see it closed', async () => {
      assert.deepEqual(await probe(node), WITHOUT_RULES)
    })

    test('with the rules a pod is refused, the host and the neighbour addresses are not touched, and the broker is for this node alone', async () => {
      await node.must('node', ['nft', '-f', '-'], tableCommands(RULESET).commands)
      assert.deepEqual(await probe(node), AS_DESIGNED)
    })
  })
