/**
 * Whatever packets a pod sends, none reaches the metadata service, as seen by a capture at AWS and not by our own
 * counters. Without rules most of them do, so that the test can fail.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { tableCommands } from '../../../node-guard/firewall/nft/commands.ts'
import { deleteTable } from '../../../node-guard/firewall/nft/table.ts'
import { GUARD_TABLE, guardRuleset } from '../../../node-guard/firewall/rules/guard-nft.ts'
import { needsNamespaces } from '../../sandbox/node/namespace-support.ts'
import { findTool } from '../../sandbox/node/tools.ts'
import { RULES } from '../battery.ts'
import { backendOn } from '../iptables-rules.ts'
import { type NodeKind, nodeExec, openNode, type TestNode } from '../node.ts'
import { drawShapes, type Shape, traits } from './shapes.ts'
import { type Arrival, openWire, type Wire, whyNoWire } from './wire.ts'

/** To use another seed: `POD2IAM_FUZZ_SEED=7 node --test test/firewall/fuzz/fuzz.test.ts`. */
const SEED = Number(process.env.POD2IAM_FUZZ_SEED ?? 254)
const COUNT = 1000

/**
 * Makes a node accept everything that Linux can be configured to accept: source routes of both families, its own
 * addresses and loopback as sources. Refusals by default of the kernel must not hide packets that our rules let pass.
 */
const PERMISSIVE = `for c in /proc/sys/net/ipv4/conf/*; do
  echo 1 >$c/accept_source_route; echo 1 >$c/accept_local; echo 1 >$c/route_localnet; echo 0 >$c/rp_filter
done
for c in /proc/sys/net/ipv6/conf/*; do
  echo 1 >$c/accept_source_route; test ! -e $c/seg6_enabled || echo 1 >$c/seg6_enabled
done`

/** The setting of distributions and the CIS benchmarks. */
const NO_SOURCE_ROUTES = 'for c in /proc/sys/net/ipv4/conf/*; do echo 0 >$c/accept_source_route; done'

/** Even without rules no packet with one of these reaches AWS: its TTL ends, it is for another host, or it is never forwarded. */
const NEVER_ARRIVES = [
  ...['to broadcast', 'to neighbour', 'ttl 1'].flatMap((word) => [`IPv4: ${word}`, `IPv6: ${word}`]),
  // Strict routes must name a neighbour of the node.
  'IPv4: SSRR',
  // Never forwarded (RFC 4291, sections 2.5.3 and 2.5.6).
  'IPv6: from link-local',
  'IPv6: from loopback',
]

/**
 * Known to pass with iptables: a loose source route, on a node that accepts them (none does by default), with the node's
 * own source address: when the packet gets the metadata address, it looks like one of the host. Only this direction
 * passes: the answer goes to the node. With `NO_SOURCE_ROUTES` the kernel stops it.
 */
const isKnownHole = ({ extras, source }: Shape) =>
  extras.includes('LSRR') && (source === 'node' || source === 'loopback')

type Guarded = {
  readonly load: (node: TestNode) => Promise<unknown>
  readonly remove: (node: TestNode) => Promise<unknown>
}

const iptables = (variant: 'nft' | 'legacy'): Guarded => ({
  load: async (node) => assert.equal(await backendOn(node, variant).load(RULES), undefined),
  remove: async (node) => assert.equal(await backendOn(node, variant).remove(), 'removed'),
})
const BACKENDS: Readonly<Record<string, Guarded>> = {
  nft: {
    load: (node) => node.must('node', ['nft', '-f', '-'], tableCommands(guardRuleset(RULES)).commands),
    remove: async (node) => assert.equal(await deleteTable(nodeExec(node), GUARD_TABLE), undefined),
  },
  'iptables-nft': iptables('nft'),
  'iptables-legacy': iptables('legacy'),
}

function options(): { skip?: string } {
  const skip = whyNoWire()
  return skip === undefined ? needsNamespaces() : { skip }
}

for (const kind of ['routed', 'bridge0', 'bridge1'] as const satisfies NodeKind[])
  describe(`packet shapes in the topology ${kind} with seed ${SEED}`, options(), () => {
    let node: TestNode
    let wire: Wire
    const shapes = drawShapes(SEED, COUNT)
    before(async () => {
      node = await openNode(kind)
      await node.must('node', ['sh', '-ec', PERMISSIVE])
      const aws = await node.agent('aws')
      for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
      wire = await openWire(node, kind === 'routed' ? 'routed' : 'bridge')
    })
    after(async () => {
      // It throws if the capture missed packets.
      try {
        await wire?.close()
      } finally {
        await node?.close()
      }
    })

    test('of every kind that Linux forwards arrive without rules', async () => {
      const arrived = new Set((await wire.send(shapes)).map(({ id }) => id))
      const drawn = new Set(shapes.flatMap(traits))
      const seen = new Set(shapes.filter(({ id }) => arrived.has(id)).flatMap(traits))
      const never = [...drawn].filter((trait) => !seen.has(trait))
      assert.deepEqual(never.toSorted(), NEVER_ARRIVES.toSorted())
    })

    for (const [backend, { load, remove }] of Object.entries(BACKENDS))
      test(`do not arrive with the rules of ${backend}${backend === 'nft' ? '' : ' except the known ones'}, nor packets of earlier connections`, async (t) => {
        if (findTool(backend) === undefined) return t.skip(`${backend} not found`)
        const pod = await node.agent('pod1')
        const connections = [
          { id: `${backend} 4`, host: '169.254.169.254' },
          { id: `${backend} 6`, host: 'fd00:ec2::254' },
        ]
        for (const { id, host } of connections) assert.equal(await pod.open({ id, host, port: 80 }), 'aws')
        await load(node)
        try {
          const later = await wire.during(async () => {
            for (const { id } of connections)
              assert.equal(await pod.say({ id, text: 'still there?' }), 'ECONNRESET')
          })
          assert.deepEqual(later, [])
          const arrived = await wire.send(shapes)
          if (backend === 'nft') return assert.deepEqual(arrived, [])
          assert.deepEqual(unknown(arrived), [])
          await node.must('node', ['sh', '-ec', NO_SOURCE_ROUTES])
          assert.deepEqual(await wire.send(shapes.filter(isKnownHole)), [])
        } finally {
          await node.must('node', ['sh', '-ec', PERMISSIVE])
          await remove(node)
        }
      })

    /** The arrivals that are not known to pass: the shape, or a packet that is none of the shapes. */
    function unknown(arrivals: readonly Arrival[]): unknown[] {
      const byId = new Map(shapes.map((shape) => [shape.id, shape]))
      return arrivals.flatMap((arrival) => {
        const shape = byId.get(arrival.id)
        return shape !== undefined && isKnownHole(shape) ? [] : [shape ?? arrival]
      })
    }
  })
