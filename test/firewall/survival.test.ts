/** What other programs do to a node's firewall every day, and to the guard's link and directory. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { BROKER_LINK } from '../../common/addresses.ts'
import { whyUnguarded } from '../../common/firewall-state.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { type GuardProcess, startGuard } from './guard-process.ts'
import { openNode, type TestNode, UNLINKED } from './node.ts'

/** Debian's /etc/nftables.conf. */
const NFTABLES_CONF = `#!/usr/sbin/nft -f
flush ruleset
table inet filter {
  chain input { type filter hook input priority filter; }
  chain forward { type filter hook forward priority filter; }
  chain output { type filter hook output priority filter; }
}
`
/** What firewalld loads: it replaces its own table, which accepts established connections. */
const FIREWALLD = `add table inet firewalld
delete table inet firewalld
table inet firewalld {
  chain mangle_PREROUTING { type filter hook prerouting priority mangle + 10; policy accept; }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    accept
  }
}
`
const KUBE_PROXY = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.0.0.2:6443
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-I FORWARD 1 -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`
const KUBE_PROXY_NFT = `add table ip kube-proxy
delete table ip kube-proxy
table ip kube-proxy {
  chain nat-prerouting { type nat hook prerouting priority dstnat; ip daddr 10.96.0.1 tcp dport 443 dnat to 10.0.0.2:6443; }
  chain filter-forward { type filter hook forward priority -110; ct state new accept; }
}
`
const FLUSH_ALL = ['filter', 'nat', 'mangle', 'raw'].flatMap((table) => [
  `iptables -t ${table} -F`,
  `iptables -t ${table} -X`,
  `ip6tables -t ${table} -F`,
  `ip6tables -t ${table} -X`,
])

type Change = { readonly repairs: 0 | 1; readonly does: (node: TestNode) => Promise<unknown> }
const nftFile = (text: string) => (node: TestNode) => node.must('node', ['nft', '-f', '-'], text)
const shell =
  (...commands: string[]) =>
  (node: TestNode) =>
    node.must('node', ['sh', '-e', '-c', commands.join('\n')])
const CHANGES: Record<string, Change> = {
  'nft -f /etc/nftables.conf': { repairs: 1, does: nftFile(NFTABLES_CONF) },
  'a reload of firewalld': { repairs: 0, does: nftFile(FIREWALLD) },
  'a reload of firewalld that flushes all (its iptables backend)': {
    repairs: 0,
    does: shell('iptables -P FORWARD DROP', ...FLUSH_ALL, 'iptables -P FORWARD ACCEPT'),
  },
  'iptables-save and iptables-restore': {
    repairs: 0,
    does: shell('iptables-save >/run/saved', ...FLUSH_ALL, 'iptables-restore </run/saved'),
  },
  'kube-proxy’s resync with iptables': {
    repairs: 0,
    does: async (node) => {
      for (let sync = 0; sync < 3; sync++)
        await node.must('node', ['iptables-restore', '--noflush'], KUBE_PROXY)
    },
  },
  'kube-proxy’s resync with nftables': { repairs: 0, does: nftFile(KUBE_PROXY_NFT) },
  'nft list ruleset, stored and loaded again': {
    repairs: 1,
    does: shell(
      '(echo flush ruleset; nft list ruleset) >/run/saved',
      'nft -f /run/saved',
      'nft flush ruleset',
    ),
  },
}

describe('the guard among other programs', needsNamespaces(), () => {
  let node: TestNode
  let guard: GuardProcess
  before(async () => {
    node = await openNode()
    const aws = await node.agent('aws')
    for (const host of ['0.0.0.0', '::'])
      for (const port of [80, 9171]) await aws.listen({ host, port, name: 'aws' })
  })
  after(() => node?.close())
  beforeEach(async () => {
    guard = await startGuard(node, ['--poll-interval=5m'])
    await guard.becomes('ready')
  })
  afterEach(async () => {
    await guard.end('SIGKILL')
    await node.run('node', ['nft', 'flush ruleset'])
    await node.run('node', ['ip', 'link', 'delete', BROKER_LINK])
  })

  const refused = async () => {
    const agent = await node.agent('pod1')
    for (const host of ['169.254.169.254', 'fd00:ec2::254'])
      assert.equal((await agent.tcp({ host, port: 80 })).outcome, 'ECONNREFUSED')
  }
  const repairs = () => guard.repairs()
  const counted = () => guard.metric('packets_total{rule="metadata_refused"}')

  for (const [what, change] of Object.entries(CHANGES))
    test(`${change.repairs === 0 ? 'needs no repair' : 'repairs its rules'} after ${what}, and keeps its counts`, async () => {
      await refused()
      // A removed rule makes the guard repair, and so read the counters.
      await node.must('node', ['nft', 'flush chain inet pod2iam_guard pin'])
      await until('the repair', async () => (await repairs()) > 0)
      // The check after a repair reports the packets that the repair counted.
      await until('the count', async () => (await counted()) >= 2)
      // On a busy machine one flush may cause two repairs.
      const before = await repairs()
      await change.does(node)
      if (change.repairs > 0) await until('the repair', async () => (await repairs()) > before)
      await until(
        'it is refused again',
        async () =>
          (await (await node.agent('pod1')).tcp({ host: 'fd00:ec2::254', port: 80 })).outcome ===
          'ECONNREFUSED',
      )
      await refused()
      await guard.becomes('ready')
      if (change.repairs === 0) assert.equal(await repairs(), before)
      assert.ok((await counted()) >= 2)
    })

  test('lets no connection to the broker’s address leave the node while the link is deleted repeatedly', async () => {
    await guard.end('SIGTERM')
    await node.must('node', ['ip', 'link', 'delete', BROKER_LINK])
    await node.must('node', ['nft', 'flush ruleset'])
    const [address] = UNLINKED
    const pod = await node.agent('pod1')
    // AWS has this address, so that what leaves the node is answered.
    assert.equal((await pod.tcp({ host: address, port: 9171 })).outcome, 'aws')
    guard = await startGuard(node, [`--broker-address=${address}`])
    await guard.becomes('ready')
    await pod.hammer({ host: address, port: 9171 })
    for (let round = 0; round < 5; round++) {
      await node.must('node', ['ip', 'link', 'delete', BROKER_LINK])
      await until(
        'the link is there again',
        async () => (await node.run('node', ['ip', 'link', 'show', BROKER_LINK])).code === 0,
      )
    }
    const { tried, gaps } = await pod.rest({})
    assert.ok(tried > 50, `${tried} probes`)
    assert.deepEqual(gaps, [])
  })

  test('keeps the block, is not ready and reports one sentence while the disk of its state is full, and recovers', async () => {
    await guard.end('SIGTERM')
    await node.must('node', [
      'sh',
      '-e',
      '-c',
      'mkdir -p /run/full; mount -t tmpfs -o size=4k tmpfs /run/full; head -c 4096 /dev/zero >/run/full/filler',
    ])
    guard = await startGuard(node, ['--state-dir=/run/full', '--poll-interval=100ms'])
    const sentence = /^the state cannot be written to \/run\/full \(ENOSPC.+\): .+$/
    await until('it is reported', async () => {
      const { status, code, detail = '' } = await guard.readiness()
      return status === 503 && code === 'state-not-written' && sentence.test(detail)
    })
    await refused()
    const directory = node.machine.path('/run/full')
    assert.match((await whyUnguarded(directory, Date.now())) ?? '', /has not reported|cannot be read/)
    assert.equal(guard.logs.filter(({ msg }) => msg === 'state not written').length, 1)
    await node.must('node', ['rm', '/run/full/filler'])
    await node.must('node', ['mount', '-o', 'remount,size=1m', '/run/full'])
    await guard.becomes('ready')
    await until('the node counts as guarded', async () => !(await whyUnguarded(directory, Date.now())))
  })

  test('writes every log line as JSON with a message, and every problem with one sentence', async () => {
    await node.must('node', ['nft', 'flush ruleset'])
    await until('the repair', async () => (await repairs()) === 1)
    process.kill(guard.monitorPid('socat'), 'SIGKILL')
    await until('it is logged', () => guard.logs.some(({ msg }) => msg === 'monitor ended'))
    await guard.end('SIGTERM')
    for (const { level, msg, detail, ...fields } of guard.logs) {
      assert.ok(msg.length > 0 && !msg.includes('\n'))
      if (level === 'warn' || level === 'error')
        assert.ok(typeof detail === 'string' && !detail.includes('\n'), JSON.stringify({ msg, ...fields }))
    }
  })
})
