/** The guard with the networks of common CNIs, built in the sandbox by `test/sandbox/node/layouts.ts`. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BROKER_ADDRESSES, BROKER_PORT, METADATA_ADDRESSES } from '../../common/addresses.ts'
import { GUARD_TABLE } from '../../node-guard/firewall/rules/guard-nft.ts'
import {
  HAS,
  INTRUDERS,
  type Kind,
  LAYOUTS,
  type Layout,
  type LayoutName,
  STAND_INS,
} from '../sandbox/node/layouts.ts'
import { namespaceSupport, needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { execIn } from '../sandbox/node/process.ts'
import { until } from '../support/until.ts'
import { UDP_PORT } from './battery.ts'
import { ADMIN_AND_RAW, NET_ADMIN_ONLY, startGuard } from './guard-process.ts'
import { fenceOf, MAIN, type NetworkName, openNode, type TestNode } from './node.ts'

const FAMILIES = ['IPv4', 'IPv6'] as const
/** A long interval, so that only events can cause a repair within a test. */
const FLAGS = ['--poll-interval=5m', '--dataplane=netfilter']
const POD2 = ['10.244.1.12', 'fd00:244::12'] as const
/** Sources of hosts on the wire of the node's second interface: one of that wire, and one that is answered through another. */
const OUTSIDE = {
  'of that wire': ['10.9.0.2', 'fd00:9::2'],
  'of another': ['10.0.0.77', 'fd00:10::77'],
} as const

type Outcomes = Record<string, string>

const layouts = Object.entries(LAYOUTS) as [LayoutName, Layout][]
const missing = namespaceSupport().kind === 'none' ? [] : await missingKinds()

// Two run at a time, since each waits for the kernel and its guard most of the time.
describe('the guard', { concurrency: 2 }, () => {
  for (const [name, layout] of layouts) describeLayout(name, layout)
})

function describeLayout(name: LayoutName, layout: Layout): void {
  const lacking = (layout.kinds ?? []).filter((kind) => missing.includes(kind))
  const leftOut = lacking.find((kind) => STAND_INS[kind] === undefined)
  const options = leftOut === undefined ? needsNamespaces() : { skip: `this kernel has no ${leftOut}` }
  describe(`${layout.title} (${name})`, { ...options, concurrency: 1 }, () => {
    let node: TestNode
    before(async () => {
      node = await openNode(layout)
      const [aws, host] = await Promise.all([node.agent('aws'), node.agent('node')])
      for (const address of ['0.0.0.0', '::']) await aws.listen({ host: address, port: 80, name: 'aws' })
      await host.receive({ port: UDP_PORT })
    })
    after(() => node?.close())

    let sent = 0
    /** Sends a datagram to the broker's address, then others from a pod that must arrive: by then it has arrived, or never will. */
    async function reaches(network: NetworkName, from: string, family: number): Promise<string> {
      // If pods are shut out, too, the node itself sends the datagram that must arrive.
      const [sender, friend, host] = await Promise.all([
        node.agent(network),
        node.agent(layout.shutsPodsOut ? 'node' : 'pod1'),
        node.agent('node'),
      ])
      const broker = BROKER_ADDRESSES[family] ?? ''
      const payload = `from-${from}-${++sent}`
      await sender.udp({ host: broker, port: UDP_PORT, payload, from })
      await until(`a datagram reaches the broker's address ${broker}`, async () => {
        await friend.udp({ host: broker, port: UDP_PORT, payload: `fence-${payload}` })
        return (await host.received({})).includes(`fence-${payload}`)
      })
      return (await host.received({})).includes(payload) ? 'arrived' : 'dropped'
    }

    /** Probes of packets to the broker that do not come from this node's pods. */
    async function intrusions(): Promise<Outcomes> {
      const outcomes: Outcomes = {}
      for (const [index, family] of FAMILIES.entries()) {
        const probe = async (what: string, network: NetworkName, from: string) => {
          outcomes[`${what} → broker, ${family}`] = await reaches(network, from, index)
        }
        await probe('uplink', 'aws', ['10.0.0.2', 'fd00:10::2'][index] ?? '')
        for (const [what, sources] of Object.entries(OUTSIDE))
          await probe(`second interface, source ${what}`, 'outside', sources[index] ?? '')
        for (const who of layout.intruders ?? []) await probe(who, 'aws', INTRUDERS[who][index] ?? '')
      }
      return outcomes
    }

    /** Sources that are not pod1's: that of another pod, if the node can distinguish it, and that of no pod. */
    const borrowed = (family: number) => ({
      ...(layout.borrowsSources ? {} : { pod2: POD2[family] }),
      nobody: OUTSIDE['of another'][family],
    })

    async function spoofed(index: number): Promise<Outcomes> {
      const outcomes: Outcomes = {}
      for (const [who, source] of Object.entries(borrowed(index))) {
        const address = `${source}/${index === 0 ? 32 : 128}`
        await node.must('pod1', ['ip', 'addr', 'replace', address, 'dev', 'lo'])
        outcomes[`pod1 as ${who} → broker, ${FAMILIES[index]}`] = await reaches('pod1', source ?? '', index)
        await node.must('pod1', ['ip', 'addr', 'del', address, 'dev', 'lo'])
      }
      return outcomes
    }

    async function fates(): Promise<Outcomes> {
      const tcp = async (network: NetworkName, host: string, port: number) =>
        (await (await node.agent(network)).tcp({ host, port, fence: fenceOf(host) })).outcome
      const outcomes: Outcomes = {}
      for (const [index, family] of FAMILIES.entries()) {
        const [metadata, broker] = [METADATA_ADDRESSES[index] ?? '', BROKER_ADDRESSES[index] ?? '']
        for (const network of ['pod1', 'node'] as const) {
          outcomes[`${network} → metadata, ${family}`] = await tcp(network, metadata, 80)
          outcomes[`${network} → broker, ${family}`] = await tcp(network, broker, BROKER_PORT)
        }
        Object.assign(outcomes, await spoofed(index))
      }
      for (const [what, host] of Object.entries(layout.refused ?? {}))
        outcomes[`pod1 → ${what}`] = await tcp('pod1', host, 80)
      return { ...outcomes, ...(await intrusions()), gate: await gate() }
    }

    async function gate(): Promise<string> {
      const flags = ['--proof-timeout=30s', '--proof-interval=50ms']
      const argv = [...NET_ADMIN_ONLY, process.execPath, MAIN, 'redirect', ...flags]
      const { code, stderr } = await execIn(node.machine, 'pod2', argv)
      await node.must('pod2', ['nft', 'flush', 'ruleset'])
      return code === 0 ? 'proven' : stderr.trim()
    }

    const AS_DESIGNED = {
      ...Object.fromEntries(
        FAMILIES.flatMap((family) => [
          [`pod1 → metadata, ${family}`, 'ECONNREFUSED'],
          [`pod1 → broker, ${family}`, layout.shutsPodsOut ? 'timeout' : 'broker'],
          [`node → metadata, ${family}`, 'aws'],
          [`node → broker, ${family}`, 'broker'],
          ...Object.keys(borrowed(0)).map((who) => [`pod1 as ${who} → broker, ${family}`, 'dropped']),
          [`uplink → broker, ${family}`, 'dropped'],
          ...Object.keys(OUTSIDE).map((what) => [
            `second interface, source ${what} → broker, ${family}`,
            'dropped',
          ]),
          ...(layout.intruders ?? []).map((who) => [`${who} → broker, ${family}`, 'dropped']),
        ]),
      ),
      ...Object.fromEntries(
        Object.keys(layout.refused ?? {}).map((what) => [`pod1 → ${what}`, 'ECONNREFUSED']),
      ),
      gate: 'proven',
    }

    const routing = async () => {
      const rules = ['-4', '-6'].map((family) => node.must('node', ['ip', family, 'rule', 'show']))
      return (await Promise.all(rules)).join('')
    }

    // iptables-legacy is last, because the guard chooses it once its tables exist.
    for (const backend of ['nft', 'iptables-nft', ...(layout.policyRouting ? ['iptables-legacy'] : [])])
      test(`refuses pods by ${backend} and lets only them and the host reach the broker`, async (t) => {
        for (const kind of lacking)
          t.diagnostic(`this kernel has no ${kind} devices; in their place: ${STAND_INS[kind]}`)
        if (backend === 'iptables-legacy') await node.must('node', ['iptables-legacy', '-t', 'nat', '-L'])
        const before = await routing()
        const guard = await startGuard(
          node,
          [...FLAGS, `--backend=${backend.replace(/-.*/, '')}`],
          ADMIN_AND_RAW,
        )
        try {
          await guard.becomes('ready')
          assert.equal(await guard.metric(`info{backend="${backend}",mode="enforce"}`), 1)
          const host = await node.agent('node')
          for (const address of BROKER_ADDRESSES)
            await host.listen({ host: address, port: BROKER_PORT, name: 'broker' })
          assert.deepEqual(await fates(), AS_DESIGNED)
        } finally {
          await guard.end('SIGTERM')
        }
        if (backend === 'nft') {
          // Without the rules each of these arrives.
          await node.must('node', ['nft', `delete table ${GUARD_TABLE}`])
          const open = Object.entries(await intrusions()).filter(([, outcome]) => outcome !== 'arrived')
          assert.deepEqual(open, [])
        }
        await node.must('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
        assert.equal(await routing(), before)
      })
  })
}

/** The kinds of devices that this kernel lacks, tested in a namespace of its own. */
async function missingKinds(): Promise<readonly Kind[]> {
  const node = await openNode()
  const kinds = Object.entries(HAS) as [Kind, string][]
  const lacks = await Promise.all(
    kinds.map(async ([kind, command]) =>
      (await node.run('aws', ['sh', '-c', command])).code === 0 ? [] : [kind],
    ),
  )
  await node.close()
  return lacks.flat()
}
