/** The guard's iptables rules against real packets: both variants, every topology. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { AS_DESIGNED_BY_IPTABLES, prepare, probe, RULES, WITHOUT_RULES } from './battery.ts'
import { backendOn, prepareDnat, probeWeak, VARIANTS, WEAK_AS_DESIGNED } from './iptables-rules.ts'
import { type NodeKind, openNode, type TestNode } from './node.ts'

for (const kind of ['routed', 'bridge0', 'bridge1'] as const satisfies NodeKind[])
  for (const variant of VARIANTS)
    describe(`guard rules in iptables-${variant}, ${kind}`, needsNamespaces(), () => {
      let node: TestNode
      before(async () => {
        node = await openNode(kind)
        await prepare(node)
        await prepareDnat(node)
      })
      after(() => node?.close())

      test('have the same effect as the nft ruleset, also with another program’s ACCEPT and DNAT, and leave nothing when removed', async () => {
        const backend = backendOn(node, variant)
        assert.equal(await backend.load(RULES), undefined)
        assert.deepEqual((await backend.compare()).differs, undefined)
        assert.deepEqual(await probe(node), AS_DESIGNED_BY_IPTABLES)
        // With br_netfilter a reset has the address that DNAT gave, so the connection is refused, but not at once.
        const expected =
          kind === 'bridge1'
            ? {
                ...WEAK_AS_DESIGNED,
                'pod → broker, taken by an earlier DNAT, IPv4': 'timeout',
                'pod → broker, taken by an earlier DNAT, IPv6': 'timeout',
                'pod → metadata, taken by an earlier DNAT, IPv4': 'timeout',
                'pod → metadata, taken by an earlier DNAT, IPv6': 'timeout',
              }
            : WEAK_AS_DESIGNED
        assert.deepEqual(await probeWeak(node, variant), expected)
        assert.equal(await backend.remove(), 'removed')
        assert.equal(await backend.remove(), 'absent')
        assert.deepEqual(await probe(node), WITHOUT_RULES)
      })
    })
