/** The guard's ruleset with real packets, in every topology. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { tableCommands } from '../../node-guard/firewall/nft/commands.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { AS_DESIGNED, prepare, probe, RULESET, WITHOUT_RULES } from './battery.ts'
import { type NodeKind, openNode, type TestNode } from './node.ts'

for (const kind of ['routed', 'bridge0', 'bridge1'] as const satisfies NodeKind[])
  describe(`in the topology ${kind}`, needsNamespaces(), () => {
    let node: TestNode
    before(async () => {
      node = await openNode(kind)
      await prepare(node)
    })
    after(() => node?.close())

    test('every hole is open without rules, so that the probes can show that it is closed', async () => {
      assert.deepEqual(await probe(node), WITHOUT_RULES)
    })

    test('the rules refuse pods, do not affect the host and neighbour addresses, and keep the broker for this node only', async () => {
      await node.must('node', ['nft', '-f', '-'], tableCommands(RULESET).commands)
      assert.deepEqual(await probe(node), AS_DESIGNED)
    })
  })
