/** `firewall guard --mode=audit`: no packet is refused, and the guard reports which pods would be. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import fc from 'fast-check'
import { whyUnguarded } from '../../common/firewall-state.ts'
import { createSightings, type Sighting } from '../../node-guard/firewall/block/audit.ts'
import type { TableContent } from '../../node-guard/firewall/nft/table-content.ts'
import { AUDIT_SECONDS, MAX_AUDIT_SOURCES } from '../../node-guard/firewall/rules/guard-nft.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { type GuardProcess, startGuard } from './guard-process.ts'
import { MAIN, openNode, type TestNode } from './node.ts'

const POD1 = '10.244.1.11'
const POD1_6 = 'fd00:244::11'

/** kube2iam's DNAT to the node's address, as in its source. */
const KUBE2IAM =
  'iptables -t nat -A PREROUTING -p tcp -d 169.254.169.254 --dport 80 -j DNAT --to-destination 10.0.0.10:8181 -i veth11'

describe('firewall guard --mode=audit', needsNamespaces(), () => {
  let node: TestNode
  let guard: GuardProcess
  before(async () => {
    node = await openNode()
    const aws = await node.agent('aws')
    for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
    await (await node.agent('node')).listen({ host: '0.0.0.0', port: 8181, name: 'kube2iam' })
  })
  after(() => node?.close())
  beforeEach(async () => {
    guard = await startGuard(node, ['--mode=audit', '--poll-interval=100ms'])
    await guard.becomes('auditing')
  })
  afterEach(async () => {
    await guard.end('SIGKILL')
    await node.run('node', ['nft', 'flush ruleset'])
  })

  const pod = async (host: string, network: 'pod1' | 'pod2' = 'pod1') =>
    (await (await node.agent(network)).tcp({ host, port: 80 })).outcome
  const status = async () => {
    const { stdout } = await node.run('node', [process.execPath, MAIN, 'status', '--json'])
    return JSON.parse(stdout) as { audit: Sighting[]; [name: string]: unknown }
  }
  const seen = async (address: string, via: string) =>
    (await status()).audit.find((sighting) => sighting.address === address && sighting.via === via)
  const isSeen = (address: string, via: string) =>
    until(`${address} is seen ${via}`, async () => (await seen(address, via)) !== undefined)

  test('pods reach the real endpoint in both families, and status shows which, how often, and when first and last', async () => {
    assert.equal(await pod('169.254.169.254'), 'aws')
    assert.equal(await pod('fd00:ec2::254'), 'aws')
    await isSeen(POD1, 'direct')
    await isSeen(POD1_6, 'direct')
    // A reading in the middle of the connection shows fewer packets.
    const packetsOf = async () => (await seen(POD1, 'direct'))?.packets ?? 0
    await until('all packets of the connection are seen', async () => (await packetsOf()) >= 3)
    const { firstSeen = '', lastSeen = '' } = (await seen(POD1, 'direct')) ?? {}
    assert.ok(Date.parse(firstSeen) <= Date.parse(lastSeen), `${firstSeen}, ${lastSeen}`)
    assert.ok(Math.abs(Date.now() - Date.parse(lastSeen)) < 60_000, lastSeen)
    assert.equal(await seen(POD1, 'dnat'), undefined)
    assert.equal(await seen('10.244.1.12', 'direct'), undefined)
    assert.equal(await pod('169.254.169.254', 'pod2'), 'aws')
    await isSeen('10.244.1.12', 'direct')
  })

  test('kube2iam’s DNAT still works, and its packets are distinguished from those to the real endpoint', async () => {
    await node.must('node', KUBE2IAM.split(' '))
    assert.equal(await pod('169.254.169.254'), 'kube2iam')
    assert.equal(await pod('169.254.169.254', 'pod2'), 'aws')
    await isSeen(POD1, 'dnat')
    await isSeen('10.244.1.12', 'direct')
    assert.equal(await seen(POD1, 'direct'), undefined)
    assert.equal(await seen('10.244.1.12', 'dnat'), undefined)
    const counted = () => guard.metric('audit_packets_total{via="dnat"}')
    await until('all packets of the connection are counted', async () => (await counted()) >= 3)
  })

  test('packets that a Service’s DNAT sends to the real endpoint are seen in both families', async () => {
    await node.must('node', [
      'nft',
      `add table inet services; add chain inet services pre { type nat hook prerouting priority -100; };
        add rule inet services pre ip daddr 10.96.0.50 tcp dport 80 dnat ip to 169.254.169.254:80;
        add rule inet services pre ip6 daddr fd00:96::50 tcp dport 80 dnat ip6 to [fd00:ec2::254]:80`,
    ])
    assert.equal(await pod('10.96.0.50'), 'aws')
    assert.equal(await pod('fd00:96::50'), 'aws')
    await isSeen(POD1, 'dnat')
    await isSeen(POD1_6, 'dnat')
    assert.equal(await seen(POD1, 'direct'), undefined)
  })

  test('packets that other rules drop or do not track before any NAT are counted', async () => {
    await node.must('node', [
      'iptables',
      '-t',
      'raw',
      '-A',
      'PREROUTING',
      '-d',
      '169.254.169.254',
      '-j',
      'DROP',
    ])
    assert.equal(
      (await (await node.agent('pod1')).tcp({ host: '169.254.169.254', port: 80, timeout: 100 })).outcome,
      'timeout',
    )
    await isSeen(POD1, 'direct')
  })

  test('counts continue after a flush and its repair, and never fall', async () => {
    await pod('169.254.169.254')
    await isSeen(POD1, 'direct')
    const before = (await seen(POD1, 'direct'))?.packets ?? 0
    await node.must('node', ['nft', 'flush ruleset'])
    await until('the repair', async () => (await guard.repairs()) >= 1)
    await pod('169.254.169.254')
    await until('more packets', async () => ((await seen(POD1, 'direct'))?.packets ?? 0) >= before + 3)
  })

  test('the host’s own packets and those to neighbours of the address are not counted', async () => {
    const host = await node.agent('node')
    assert.equal((await host.tcp({ host: '169.254.169.254', port: 80 })).outcome, 'aws')
    assert.equal(await pod('169.254.169.253'), 'aws')
    // A later sighting shows that the readings before it had none of these.
    await pod('169.254.169.254', 'pod2')
    await isSeen('10.244.1.12', 'direct')
    assert.deepEqual(
      (await status()).audit.map(({ address }) => address),
      ['10.244.1.12'],
    )
  })

  test('the rules for the broker’s addresses are the same as in mode enforce', async () => {
    const text = await node.must('node', ['nft', 'list table inet pod2iam_guard'])
    for (const part of [
      'dnat ip to ip daddr',
      'ip daddr 169.254.170.24 counter name "broker_forwarded" goto refuse',
      'counter name "broker_outside" drop',
    ])
      assert.ok(text.includes(part), part)
    assert.doesNotMatch(text, /metadata_refused/)
  })

  test('the node counts as guarded, but its block never counts as verified', async () => {
    await until(
      'the broker knows',
      async () => !(await whyUnguarded(node.machine.path('/run/pod2iam'), Date.now())),
    )
    assert.equal(await guard.metric('block_verified'), 0)
    const { mode, verified, refusedPackets } = await status()
    assert.deepEqual({ mode, verified, refusedPackets }, { mode: 'audit', verified: true, refusedPackets: 0 })
    const text = await node.must('node', [process.execPath, MAIN, 'status'])
    assert.match(text, /^mode +audit \(nothing is refused, only counted\)\ncounting verified +yes/m)
    assert.doesNotMatch(text, /block verified/)
  })

  test('a later start with mode enforce refuses direct requests, and keeps kube2iam’s DNAT for its pods', async () => {
    await node.must('node', KUBE2IAM.split(' '))
    await guard.end('SIGTERM')
    guard = await startGuard(node)
    await guard.becomes('ready')
    assert.equal(await pod('169.254.169.254'), 'kube2iam')
    assert.equal(await pod('169.254.169.254', 'pod2'), 'ECONNREFUSED')
    assert.equal(await pod('fd00:ec2::254'), 'ECONNREFUSED')
  })

  test('the gate keeps pods from starting, unless it has --proof=report, which the chart sets with this mode', async () => {
    const gate = (...flags: string[]) =>
      node.run('pod1', [
        process.execPath,
        MAIN,
        'redirect',
        '--redirect=env',
        '--proof-interval=50ms',
        ...flags,
      ])
    assert.equal((await gate('--proof=report')).code, 0)
    assert.equal((await gate('--proof-timeout=100ms')).code, 1)
  })

  test('--backend=iptables is refused in one sentence', async () => {
    const flags = ['guard', '--mode=audit', '--backend=iptables']
    const { code, stderr } = await node.run('node', [process.execPath, MAIN, ...flags])
    assert.equal(code, 2)
    assert.match(stderr, /^pod2iam firewall guard: --mode audit needs nft: .+\.\n$/)
  })
})

for (const kind of ['bridge0', 'bridge1'] as const)
  test(`pods on a bridge (${kind}) are distinguished by mode audit, too`, needsNamespaces(), async () => {
    const node = await openNode(kind)
    try {
      await (await node.agent('aws')).listen({ host: '0.0.0.0', port: 80, name: 'aws' })
      await (await node.agent('node')).listen({ host: '0.0.0.0', port: 8181, name: 'kube2iam' })
      await node.must('node', KUBE2IAM.replace('veth11', 'cni0 -s 10.244.1.11').split(' '))
      const guard = await startGuard(node, ['--mode=audit', '--poll-interval=100ms'])
      await guard.becomes('auditing')
      for (const [network, outcome] of [
        ['pod1', 'kube2iam'],
        ['pod2', 'aws'],
      ] as const)
        assert.equal(
          (await (await node.agent(network)).tcp({ host: '169.254.169.254', port: 80 })).outcome,
          outcome,
        )
      const seen = async (): Promise<string[]> => {
        const { stdout } = await node.run('node', [process.execPath, MAIN, 'status', '--json'])
        const { audit } = JSON.parse(stdout) as { audit: Sighting[] }
        return audit.map(({ address, via }) => `${address} ${via}`).sort()
      }
      await until('both are seen', async () => (await seen()).length === 2)
      assert.deepEqual(await seen(), ['10.244.1.11 dnat', '10.244.1.12 direct'])
      await guard.end('SIGTERM')
    } finally {
      await node.close()
    }
  })

describe('sightings', () => {
  type Counts = Readonly<Record<'asked' | 'taken' | 'led', number>>
  const NOW = Date.parse('2026-01-01T00:00:00Z')
  const SHAPE = { chains: {}, sets: [], more: false }
  const element = (value: string, packets: number) => ({ value, packets, expires: AUDIT_SECONDS - 5 })
  const reading = (counts: Counts, address = POD1): TableContent => ({
    text: '',
    packets: Object.fromEntries(
      Object.entries(counts).map(([sight, packets]) => [`audit_${sight}`, packets]),
    ),
    added: Object.fromEntries(
      Object.entries(counts).map(([sight, packets]) => [
        `${sight}4`,
        packets > 0 ? [element(address, packets)] : [],
      ]),
    ),
    shape: SHAPE,
  })

  test('count requests without a DNAT as direct, and requests with one as dnat', () => {
    const sightings = createSightings(() => NOW)
    sightings.take(reading({ asked: 10, taken: 4, led: 2 }))
    const seen = { firstSeen: '2025-12-31T23:59:55.000Z', lastSeen: '2025-12-31T23:59:55.000Z' }
    assert.deepEqual(sightings.list(), [
      { address: POD1, via: 'direct', packets: 6, ...seen },
      { address: POD1, via: 'dnat', packets: 6, ...seen },
    ])
    assert.deepEqual(sightings.packets(), { direct: 6, dnat: 6 })
  })

  test('keep when an address was first seen, directly and by DNAT, also when the kernel’s counters restart', () => {
    let now = NOW
    const sightings = createSightings(() => now)
    sightings.take(reading({ asked: 1, taken: 0, led: 0 }))
    now += 7_200_000
    sightings.restart()
    sightings.take(reading({ asked: 3, taken: 2, led: 0 }))
    const [first, later] = ['2025-12-31T23:59:55.000Z', '2026-01-01T01:59:55.000Z']
    assert.deepEqual(
      sightings.list().map(({ via, firstSeen, lastSeen }) => [via, firstSeen, lastSeen]),
      [
        ['direct', first, later],
        ['dnat', later, later],
      ],
    )
  })

  test('never fall and never exceed the real counts, however readings grow, restart and overlap', () => {
    const step = fc.record({
      asked: fc.nat(50),
      takenOf: fc.nat(50),
      led: fc.nat(50),
      restart: fc.boolean(),
      inFlight: fc.nat(2),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const sightings = createSightings(() => NOW)
        const kernel = { asked: 0, taken: 0, led: 0 }
        const truth = { asked: 0, taken: 0, led: 0 }
        let before = sightings.packets()
        for (const { asked, takenOf, led, restart, inFlight } of steps) {
          if (restart) {
            sightings.restart()
            kernel.asked = kernel.taken = kernel.led = 0
          }
          const added = { asked, taken: Math.min(takenOf, asked), led }
          for (const sight of ['asked', 'taken', 'led'] as const) {
            kernel[sight] += added[sight]
            truth[sight] += added[sight]
          }
          // Sets are read one after the other, so some packets that were taken meanwhile are not yet in the set of those asked.
          const missing = Math.min(inFlight, kernel.taken, asked)
          sightings.take(reading({ ...kernel, asked: kernel.asked - missing }))
          const now = sightings.packets()
          assert.ok(now.direct >= before.direct && now.dnat >= before.dnat)
          assert.ok(now.direct <= truth.asked - truth.taken && now.dnat === truth.taken + truth.led)
          before = now
        }
      }),
    )
  })

  test('are limited in number in a flood of sources, which is counted and reported', () => {
    const sightings = createSightings(() => NOW)
    const flood = (round: number): TableContent => ({
      text: '',
      packets: { audit_asked: MAX_AUDIT_SOURCES * (round + 1) },
      added: {
        asked4: Array.from({ length: MAX_AUDIT_SOURCES }, (_, i) =>
          element(`10.${round}.${i >> 8}.${i & 255}`, 1),
        ),
      },
      shape: SHAPE,
    })
    for (let round = 0; round < 4; round++) sightings.take(flood(round))
    assert.equal(sightings.full(), true)
    assert.ok(sightings.list().length <= MAX_AUDIT_SOURCES)
    assert.equal(sightings.packets().direct, MAX_AUDIT_SOURCES * 4)
  })
})
