/** `firewall guard` as a process: what it does on a node, and how it reacts to other programs. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { BROKER_LINK } from '../../common/addresses.ts'
import { whyUnguarded } from '../../common/firewall-state.ts'
import { GUARD_TABLE } from '../../node-guard/firewall/rules/guard-nft.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { ADMIN_AND_RAW, type GuardProcess, NO_CAPABILITY, startGuard } from './guard-process.ts'
import { MAIN, openNode, type TestNode } from './node.ts'

const STATE = '/run/pod2iam'
/** A long interval, so that only events can cause a repair within a test. */
const NO_POLL = '--poll-interval=5m'

describe('firewall guard', needsNamespaces(), () => {
  let node: TestNode
  before(async () => {
    node = await openNode()
    const aws = await node.agent('aws')
    for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
  })
  after(() => node?.close())

  const stateDirectory = () => node.machine.path(STATE)
  const pod = async (host: string) => (await (await node.agent('pod1')).tcp({ host, port: 80 })).outcome
  const refused = async () => {
    assert.equal(await pod('169.254.169.254'), 'ECONNREFUSED')
    assert.equal(await pod('fd00:ec2::254'), 'ECONNREFUSED')
  }
  const nft = (...command: string[]) => node.must('node', ['nft', command.join(' ')])
  const rules = () => node.must('node', ['nft', '-s', 'list', 'table', ...GUARD_TABLE.split(' ')])
  const hasTable = async () =>
    (await node.run('node', ['nft', 'list', 'table', ...GUARD_TABLE.split(' ')])).code === 0
  const hasLink = async () => (await node.run('node', ['ip', 'link', 'show', BROKER_LINK])).code === 0

  let guard: GuardProcess
  const start = async () => {
    guard = await startGuard(node, [NO_POLL])
    await guard.becomes('ready')
  }
  const cleanUp = async () => {
    await guard.end('SIGKILL')
    await node.run('node', ['nft', 'flush', 'ruleset'])
    await node.run('node', ['ip', 'link', 'delete', BROKER_LINK])
  }

  describe('while it watches', () => {
    before(start)
    after(cleanUp)

    const CHANGES: Record<string, string> = {
      'flushes all rules': 'flush ruleset',
      'deletes the table': `delete table ${GUARD_TABLE}`,
      'flushes a chain': `flush chain ${GUARD_TABLE} forward`,
      'accepts before our rules': `insert rule ${GUARD_TABLE} forward accept`,
      'adds a rule': `add rule ${GUARD_TABLE} input iifname "veth11" drop`,
      'creates the table again': `delete table ${GUARD_TABLE}; add table ${GUARD_TABLE}; add chain ${GUARD_TABLE} forward`,
      'gives a chain another hook': `delete chain ${GUARD_TABLE} forward; add chain ${GUARD_TABLE} forward { type filter hook input priority 0; }`,
      'adds a set': `add set ${GUARD_TABLE} extra { type ipv4_addr; }`,
      'makes the table dormant': `add table ${GUARD_TABLE} { flags dormant; }`,
      'makes the base chain drop': `add chain ${GUARD_TABLE} forward { policy drop; }`,
      'adds a chain': `add chain ${GUARD_TABLE} extra { type filter hook prerouting priority 0; }`,
    }
    for (const [what, command] of Object.entries(CHANGES))
      test(`repairs on the event when somebody ${what}`, async () => {
        const warnings = () =>
          guard.logs.filter(({ level, msg }) => level === 'warn' && msg === 'rules repaired').length
        const [before, count, warned] = [await rules(), await guard.repairs(), warnings()]
        await nft(command)
        await until('the rules are as before', async () => (await rules().catch(() => '')) === before)
        await until('the repair is counted', async () => (await guard.repairs()) > count)
        await refused()
        assert.ok(warnings() > warned)
        await guard.becomes('ready')
      })
  })

  describe('when it runs', () => {
    beforeEach(start)
    afterEach(cleanUp)

    test('refuses pods at once with NET_ADMIN only, and reports to the broker that the node is guarded', async () => {
      await refused()
      await until('the broker knows', async () => !(await whyUnguarded(stateDirectory(), Date.now())))
      assert.equal(await guard.metric('block_verified'), 1)
      assert.ok((await guard.metric('verification_age_seconds')) < 60)
      assert.equal((await guard.readiness()).status, 200)
    })

    test('creates the broker’s link with both addresses, which can be bound at once', async () => {
      // With duplicate address detection, which is on by default, an IPv6 address cannot be bound for a second.
      const detection = (value: number) =>
        `for f in all default; do echo ${value} >/proc/sys/net/ipv6/conf/$f/accept_dad; done`
      await node.must('node', ['sh', '-c', detection(1)])
      await node.must('node', ['ip', 'link', 'delete', BROKER_LINK])
      await until('the addresses are there', async () => (await addresses()).length === 2)
      await node.must('node', ['sh', '-c', detection(0)])
      const host = await node.agent('node')
      for (const address of ['169.254.170.24', 'fd00:70d2:1a::24']) {
        assert.equal(await host.listen({ host: address, port: 9171, name: 'broker' }), 'listening')
        assert.equal((await (await node.agent('pod1')).tcp({ host: address, port: 9171 })).outcome, 'broker')
      }
    })

    test('creates the link and its addresses again when somebody deletes them', async () => {
      await node.must('node', ['ip', 'link', 'delete', BROKER_LINK])
      await until('the link is there again', async () => (await addresses()).length === 2)
      await node.must('node', ['ip', 'address', 'delete', '169.254.170.24/32', 'dev', BROKER_LINK])
      await until('the address is there again', async () => (await addresses()).length === 2)
      await node.must('node', ['ip', 'link', 'set', BROKER_LINK, 'down'])
      await until('the link is up again', async () => (await addresses()).length === 2)
    })

    async function addresses(): Promise<string[]> {
      const { code, stdout } = await node.run('node', ['ip', '-o', 'addr', 'show', 'dev', BROKER_LINK, 'up'])
      return code === 0
        ? stdout.split('\n').filter((line) => /169\.254\.170\.24\/32|fd00:70d2:1a::24\/128/.test(line))
        : []
    }

    test('repairs once only, since its own changes cause no other repair', async () => {
      await nft('flush ruleset')
      await until('the repair', async () => (await guard.repairs()) === 1)
      const verified = () => node.must('node', ['cat', `${STATE}/firewall.json`])
      let last = ''
      await until('two equal states in a row', async () => {
        const now = await verified()
        await new Promise((resolve) => setTimeout(resolve, 100))
        last = await verified()
        return now === last
      })
      assert.equal(await guard.repairs(), 1)
    })

    test('keeps the block closed despite an ACCEPT of another program in either variant of iptables or in nft', async () => {
      for (const iptables of ['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'])
        for (const table of ['raw', 'mangle', 'filter'])
          await node.must('node', [
            iptables,
            '-t',
            table,
            '-I',
            table === 'raw' ? 'PREROUTING' : 'FORWARD',
            '1',
            '-j',
            'ACCEPT',
          ])
      await node.must('node', [
        'nft',
        'add table inet other; add chain inet other f { type filter hook forward priority -300; policy accept; }; add rule inet other f accept',
      ])
      await refused()
    })

    test('keeps its table when iptables is flushed and restored, and when kube-proxy changes rules', async () => {
      const before = await nft('list table', GUARD_TABLE).then(withoutCounts)
      for (const kind of ['iptables-nft', 'iptables-legacy']) {
        await node.must('node', [kind, '-F'])
        await node.must('node', [kind, '-X'])
        await node.must('node', [kind, '-t', 'nat', '-F'])
        const restore =
          '*filter\n:FORWARD ACCEPT [0:0]\n:KUBE-FORWARD - [0:0]\n-A FORWARD -j KUBE-FORWARD\nCOMMIT\n'
        await node.must('node', [`${kind}-restore`], restore)
        await node.must('node', [`${kind}-restore`, '--noflush'], restore)
        await refused()
      }
      assert.equal(await nft('list table', GUARD_TABLE).then(withoutCounts), before)
      assert.equal(await guard.repairs(), 0)
    })

    test('refuses a Service address with DNAT to the metadata address', async () => {
      await nft(`add table inet services; add chain inet services pre { type nat hook prerouting priority -100; };
        add rule inet services pre ip daddr 10.96.0.50 tcp dport 80 dnat ip to 169.254.169.254:80;
        add rule inet services pre ip6 daddr fd00:96::50 tcp dport 80 dnat ip6 to [fd00:ec2::254]:80`)
      assert.equal(await pod('10.96.0.50'), 'ECONNREFUSED')
      assert.equal(await pod('fd00:96::50'), 'ECONNREFUSED')
    })

    test('refuses all ports, not only 80', async () => {
      const agent = await node.agent('pod1')
      for (const port of [22, 8080, 65535])
        assert.equal((await agent.tcp({ host: '169.254.169.254', port })).outcome, 'ECONNREFUSED')
    })

    test('keeps a verified table over SIGTERM, SIGKILL and a new start, without a gap', async () => {
      const agent = await node.agent('pod1')
      await agent.hammer({ host: '169.254.169.254', port: 80 })
      const terminated = await guard.end('SIGTERM')
      assert.equal(terminated.code, 0)
      // It takes less than a second on an idle machine. If it waited for its poll, it would take five minutes.
      assert.ok(terminated.ms < 30_000, `${terminated.ms} ms`)
      assert.ok(await hasTable())
      guard = await startGuard(node, [NO_POLL])
      await guard.becomes('ready')
      await guard.end('SIGKILL')
      assert.ok(await hasTable())
      guard = await startGuard(node, [NO_POLL])
      await guard.becomes('ready')
      const { tried, gaps } = await agent.rest({})
      assert.ok(tried > 100, `${tried} probes`)
      assert.deepEqual(gaps, [])
    })

    test('restarts its monitors when they are killed, and repairs changes that were missed meanwhile', async () => {
      for (const [command, msg] of [
        ['socat', 'socat -u'],
        ['ip -oneline monitor', 'ip -oneline monitor'],
      ] as const) {
        const seen = guard.logs.length
        process.kill(guard.monitorPid(command), 'SIGKILL')
        await until('it is noticed', () =>
          guard.logs.slice(seen).some(({ detail }) => String(detail).startsWith(msg)),
        )
        await until('another runs', () => {
          try {
            return guard.monitorPid(command) > 0
          } catch {
            return false
          }
        })
      }
      process.kill(guard.monitorPid('socat'), 'SIGKILL')
      await nft('flush ruleset')
      await until('the table is there again', hasTable)
      process.kill(guard.monitorPid('ip -oneline monitor'), 'SIGKILL')
      await node.must('node', ['ip', 'link', 'delete', BROKER_LINK])
      await until('the link is there again', hasLink)
    })

    test('follows the default routes, so that packets from a new uplink do not reach the broker', async () => {
      await node.must('node', [
        'ip',
        'route',
        'add',
        'default',
        'via',
        '10.9.0.2',
        'dev',
        'eth1',
        'metric',
        '500',
      ])
      await until('eth1 is an uplink', async () => (await rules()).includes('iifname "eth1"'))
      await node.must('node', [
        'ip',
        'route',
        'delete',
        'default',
        'via',
        '10.9.0.2',
        'dev',
        'eth1',
        'metric',
        '500',
      ])
      await until('eth1 is no uplink any more', async () => !(await rules()).includes('iifname "eth1"'))
    })

    test('counts refused packets over repairs', async () => {
      // The result is compared with the kernel's own count, since one connection attempt may be several packets on a busy machine.
      const kernelCount = async () =>
        Number(/packets (\d+)/.exec(await nft('list counter', GUARD_TABLE, 'metadata_refused'))?.[1])
      const metric = () => guard.metric('packets_total{rule="metadata_refused"}')
      const refusedPackets = async () => {
        const before = await kernelCount()
        await refused()
        const packets = (await kernelCount()) - before
        assert.ok(packets >= 2, `${packets} packets`)
        return packets
      }
      const countedAfter = async (change: string, expected: number) => {
        const before = await guard.repairs()
        await nft(change)
        await until('the repair is counted', async () => (await guard.repairs()) > before)
        // The check after a repair reports the packets that the repair counted.
        await until(`${expected} packets are reported`, async () => (await metric()) >= expected)
        assert.equal(await metric(), expected)
      }
      let sent = 0
      // The kernel's counter continues after the first repair and restarts with the second.
      for (const change of [`flush chain ${GUARD_TABLE} input`, `add chain ${GUARD_TABLE} extra`]) {
        sent += await refusedPackets()
        await countedAfter(change, sent)
      }
      await countedAfter('flush ruleset', sent)
      sent += await refusedPackets()
      await countedAfter(`add chain ${GUARD_TABLE} extra`, sent)
    })

    test('is shown by status as it last reported, for people and for scripts', async () => {
      const json = JSON.parse(await node.must('node', [process.execPath, MAIN, 'status', '--json']))
      assert.deepEqual(Object.keys(json), [
        'backend',
        'mode',
        'verified',
        'verifiedAt',
        'ownedTable',
        'refusedPackets',
        'repairs',
        'brokerLink',
        'leftovers',
        'leftoversAt',
        'warnings',
        'audit',
        'hostNetwork',
      ])
      assert.equal(json.verified, true)
      const text = await node.must('node', [process.execPath, MAIN, 'status'])
      assert.match(text, /^backend +nft\nmode +enforce\nblock verified +yes \(\d+s ago/)
    })

    test('has only its own rules removed by `remove`, and none without --open-this-node', async () => {
      await guard.end('SIGTERM')
      await nft('add table inet other')
      const refusal = await node.run('node', [process.execPath, MAIN, 'remove'])
      assert.equal(refusal.code, 2)
      assert.match(refusal.stderr, /--open-this-node\. Nothing was changed/)
      assert.ok((await hasTable()) && (await hasLink()))
      await node.must('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
      assert.equal(await hasTable(), false)
      assert.equal(await hasLink(), false)
      assert.match(await nft('list tables'), /table inet other/)
      await node.must('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
    })

    test('removes table and link with --mode=remove, stays ready, and reports the mode to the broker', async () => {
      await guard.end('SIGTERM')
      await nft('add table inet other')
      // Earlier tests used iptables-legacy, which cannot be read without NET_RAW.
      guard = await startGuard(node, ['--mode=remove'], ADMIN_AND_RAW)
      await guard.becomes('removed')
      assert.equal((await guard.readiness()).status, 200)
      assert.equal(await hasTable(), false)
      assert.equal(await hasLink(), false)
      assert.match(await nft('list tables'), /table inet other/)
      await until('the broker knows', async () =>
        /--mode=remove/.test((await whyUnguarded(stateDirectory(), Date.now())) ?? ''),
      )
      assert.equal(await guard.metric('block_verified'), 0)
    })
  })

  test('closes connections that were established before it started', async () => {
    const agent = await node.agent('pod1')
    assert.equal(await agent.open({ host: '169.254.169.254', port: 80, id: 'kept' }), 'aws')
    assert.equal(await agent.say({ id: 'kept', text: 'still there?' }), 'still there?')
    const guard = await startGuard(node)
    await guard.becomes('ready')
    assert.equal(await agent.say({ id: 'kept', text: 'and now?' }), 'ECONNRESET')
    await guard.end('SIGTERM')
  })

  test('drops ICMP to the metadata address, too', async () => {
    // A closed UDP port makes pod1 send an ICMP error to the source of the datagram.
    const aws = await node.agent('aws')
    const bounce = (from: string, host: string) => aws.bounce({ from, host, port: 9, fence: host })
    await nft('flush ruleset')
    assert.equal(await bounce('169.254.169.254', '10.244.1.11'), 'ECONNREFUSED')
    assert.equal(await bounce('fd00:ec2::254', 'fd00:244::11'), 'ECONNREFUSED')
    const guard = await startGuard(node)
    await guard.becomes('ready')
    assert.equal(await bounce('169.254.169.254', '10.244.1.11'), 'sent')
    assert.equal(await bounce('fd00:ec2::254', 'fd00:244::11'), 'sent')
    await guard.end('SIGTERM')
  })

  test('repairs at its poll if no event is reported', async () => {
    const guard = await startGuard(node, ['--poll-interval=200ms'])
    await guard.becomes('ready')
    const monitor = guard.monitorPid('socat')
    process.kill(monitor, 'SIGSTOP')
    await nft('flush ruleset')
    await until('the table is there again', hasTable)
    await until('the repair is counted', async () => (await guard.repairs()) === 1)
    assert.equal(await guard.metric('repairs_total{cause="event"}'), 0)
    process.kill(monitor, 'SIGCONT')
    await guard.end('SIGTERM')
  })

  test('is not ready without NET_ADMIN, and reports it in one sentence, also to the broker', async () => {
    await node.run('node', ['nft', 'flush', 'ruleset'])
    const guard = await startGuard(node, [], NO_CAPABILITY)
    await guard.becomes('block-not-verified')
    const { status, detail } = await guard.readiness()
    assert.equal(status, 503)
    assert.match(detail ?? '', /NET_ADMIN/)
    await until('the broker knows', async () =>
      /NET_ADMIN/.test((await whyUnguarded(stateDirectory(), Date.now())) ?? ''),
    )
    assert.equal(guard.logs.filter(({ msg }) => msg === 'block not verified').length, 1)
    await guard.end('SIGTERM')
  })

  test('keeps the block and reports a state directory that cannot be written', async () => {
    const guard = await startGuard(node, ['--state-dir=/etc/passwd/nowhere'])
    await guard.becomes('state-not-written')
    await refused()
    await guard.end('SIGTERM')
  })

  test('reports all mistakes in its flags together', async () => {
    const flags = [
      '--mode=observe',
      '--backend=ebtables',
      '--owned-table=perhaps',
      '--metadata-address=10.0.0.0/8',
      '--poll-interval=1ms',
    ]
    const { code, stderr } = await node.run('node', [process.execPath, MAIN, 'guard', ...flags])
    assert.equal(code, 2)
    for (const flag of ['--mode', '--backend', '--owned-table', '--metadata-address', '--poll-interval'])
      assert.match(stderr, new RegExp(`${flag} .+\\.\n`))
  })
})

const withoutCounts = (text: string) => text.replace(/packets \d+ bytes \d+/g, '')
