/** Pods on the host network, as real processes in real cgroups: which ones are refused, and how the rules are kept. */
import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { BROKER_ADDRESSES } from '../../common/addresses.ts'
import type { BackendName } from '../../node-guard/firewall/backend/backend.ts'
import { createHostNetworkReconciler } from '../../node-guard/firewall/host-network/reconciler.ts'
import { silentLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import { startGuard } from './guard-process.ts'
import {
  AS_IN_CHART,
  BACKENDS,
  CLASSES,
  type HostNetworkNode,
  METADATA,
  needsCgroups,
  newUid,
  openHostNetworkNode,
  REFUSED,
} from './host-network-node.ts'
import { MAIN } from './node.ts'
import { IPTABLES_TOOLS, withoutTools } from './without-tools.ts'

/** What other programs do to the rules. */
const CHANGES: Readonly<Record<BackendName, readonly string[]>> = {
  nft: [
    'nft flush ruleset',
    'nft delete table inet pod2iam_hostnet',
    'nft insert rule inet pod2iam_hostnet output accept',
    'nft flush chain inet pod2iam_hostnet judge',
  ],
  'iptables-nft': [
    'nft flush ruleset',
    'iptables-nft -F; ip6tables-nft -F',
    'iptables-nft -I OUTPUT -j ACCEPT',
    'iptables-nft -I POD2IAM_HOST-OUTPUT -j RETURN',
    'iptables-nft -D OUTPUT -j POD2IAM_HOST-OUTPUT',
    'ip6tables-nft -F POD2IAM_HOST-JUDGE',
  ],
  'iptables-legacy': [
    'iptables-legacy -t security -F; ip6tables-legacy -t security -F',
    'iptables-legacy -t security -I OUTPUT -j ACCEPT',
    'iptables-legacy -t security -I POD2IAM_HOST-OUTPUT -j RETURN',
    'ip6tables-legacy -t security -F POD2IAM_HOST-JUDGE',
  ],
}

const pod = (uid: string, name: string, allowed = false) => ({ uid, namespace: 'default', name, allowed })

const CASES = (['systemd', 'cgroupfs'] as const).flatMap((driver) =>
  BACKENDS.map((backend) => ({ driver, backend })),
)
for (const { driver, backend } of CASES)
  describe(`--host-network=block by ${backend}, cgroup driver ${driver}`, needsCgroups(), () => {
    const refused = REFUSED[backend]
    let host: HostNetworkNode
    before(async () => {
      host = await openHostNetworkNode(driver)
    })
    after(() => host?.close())

    test('refuses every pod on the host network that is not allowed, and never the host itself', async () => {
      const uids = await Promise.all(CLASSES.map(host.makePod))
      const allowed = await Promise.all(CLASSES.map(host.makePod))
      await host.list([
        ...uids.map((uid, index) => pod(uid, `refused-${index}`)),
        ...allowed.map((uid, index) => pod(uid, `allowed-${index}`, true)),
      ])
      const guard = await host.start('block', { backend })
      await guard.verified()
      assert.equal((await guard.status()).backend, backend)
      const fates = async (address: string) => ({
        ...Object.fromEntries(
          await Promise.all(
            CLASSES.flatMap((which, index) => [
              [`refused ${which}`, host.cgroup(uids[index] ?? '', which)] as const,
              [`allowed ${which}`, host.cgroup(allowed[index] ?? '', which)] as const,
            ]).map(async ([name, path]) => [name, await host.fetch(path, address)]),
          ),
        ),
        own: await host.fetch(host.cgroup(guard.uid), address),
        unlisted: await host.fetch(host.cgroup('99999999'), address),
        host: await host.fetch('.', address),
        neighbour: await host.fetch(`${host.root.split('/')[0]}/containerd.service`, address),
      })
      for (const address of METADATA)
        assert.deepEqual(await fates(address), {
          ...Object.fromEntries(CLASSES.map((which) => [`refused ${which}`, refused])),
          ...Object.fromEntries(CLASSES.map((which) => [`allowed ${which}`, 'aws'])),
          ...{ own: 'aws', unlisted: refused, host: 'aws', neighbour: 'aws' },
        })
      await host.list([...uids, newUid()].map((uid, index) => pod(uid, `refused-${index}`)))
      await guard.verified(
        ({ packets: { allowed, others, unknown }, pods }) =>
          allowed > 0 && others >= 6 && unknown >= 2 && pods.some(({ name }) => name === 'refused-2'),
      )
      // A pod that is not on the list any more is refused.
      const [, formerly = ''] = allowed
      await until('it is refused', async () => (await host.fetch(host.cgroup(formerly))) === refused)
    })
  })

for (const backend of BACKENDS)
  describe(`firewall host-network with ${backend}`, needsCgroups(), () => {
    const refused = REFUSED[backend]
    let host: HostNetworkNode
    const start = (mode: 'audit' | 'block') => host.start(mode, { backend })
    before(async () => {
      host = await openHostNetworkNode('systemd')
    })
    after(() => host?.close())

    test('refuses no more than before while the broker’s list is missing, and reports that', async () => {
      const uid = await host.makePod()
      const guard = await start('block')
      await until('it waits for the list', async () =>
        /has not reported which pods/.test((await guard.status()).detail ?? ''),
      )
      assert.equal(await host.fetch(host.cgroup(uid)), 'aws')
      await host.list([])
      await guard.verified()
      assert.equal(await host.fetch(host.cgroup(uid)), refused)
      await guard.end()

      await rm(join(host.state, 'host-pods.json'))
      const next = await start('block')
      await until('it waits, too', async () =>
        /has not reported which pods/.test((await next.status()).detail ?? ''),
      )
      assert.equal(await host.fetch(host.cgroup(uid)), refused)
      await host.list([])
      await next.verified()
      await next.end()
    })

    test('keeps its rules when the list is damaged, and reports it until there is a valid one', async () => {
      const uid = await host.makePod()
      await host.list([pod(uid, 'needed', true)])
      const guard = await start('block')
      await guard.verified()
      assert.equal(await host.fetch(host.cgroup(uid)), 'aws')
      for (const text of [
        '{',
        '{"version":1,"pods":[{"uid":"../x","namespace":"a","name":"b","allowed":true}]}',
      ]) {
        await writeFile(join(host.state, 'host-pods.json'), text)
        await until('it is reported', async () => /cannot be read/.test((await guard.status()).detail ?? ''))
        assert.equal(await host.fetch(host.cgroup(uid)), 'aws')
        await host.list([pod(uid, 'needed', true)])
        await guard.verified()
      }
      await guard.end()
    })

    test('lets an allowed pod through as soon as it has a cgroup, also after that was created again', async () => {
      const uid = newUid()
      await host.list([pod(uid, 'late', true)])
      const guard = await start('block')
      await guard.verified()
      const pass = () =>
        until('it passes', async () => (await host.fetch(host.cgroup(uid))) === 'aws', { deadlineMs: 30_000 })
      await pass()
      const moved = host.cgroup(uid)
      await host.end(moved)
      await until(
        'its rules are removed',
        async () => !(await host.rules(backend)).includes(`${uid.replaceAll('-', '_')}.slice`),
      )
      await pass()
      await guard.end()
    })

    test('loads its rules again when another program flushes, changes or deletes them', async () => {
      const uid = await host.makePod()
      await host.list([pod(uid, 'someone')])
      const guard = await start('block')
      await guard.verified()
      const { repairs } = await guard.status()
      for (const [index, command] of CHANGES[backend].entries()) {
        await host.shell(command)
        await guard.verified((known) => known.repairs > repairs + index)
        assert.equal(await host.fetch(host.cgroup(uid)), refused, command)
      }
      await guard.end()
    })

    test('keeps the count of a pod after a restart, and after its rule was loaded again', async () => {
      const uid = await host.makePod()
      await host.list([pod(uid, 'counted')])
      const guard = await start('block')
      await guard.verified()
      await host.fetch(host.cgroup(uid))
      const packets = async (from: typeof guard) =>
        (await from.status()).pods.find(({ name }) => name === 'counted')?.packets ?? 0
      const another = await host.makePod()
      await host.list([pod(uid, 'counted'), pod(another, 'another')])
      await until('it is counted', async () => (await packets(guard)) > 0)
      const named = another.replaceAll('-', '_')
      await until('rules were loaded again', async () => (await host.rules(backend)).includes(named))
      await guard.end()
      const counted = await packets(guard)
      await host.list([pod(uid, 'counted'), pod(await host.makePod(), 'third')])
      const next = await start('block')
      await next.verified()
      assert.ok((await packets(next)) >= counted)
      await next.end()
    })

    test('treats cgroups below a pod’s like the pod, and in mode audit counts and refuses nothing', async () => {
      const [other, allowed] = [await host.makePod(), await host.makePod('guaranteed')]
      const below = `${host.cgroup(other)}/container/init.scope/kubepods.slice`
      const list = [pod(other, 'refused'), pod(allowed, 'allowed', true)]
      await host.list(list)
      const guard = await start('block')
      await guard.verified()
      assert.equal(await host.fetch(below), refused)
      assert.equal(await host.fetch(`${host.cgroup(allowed, 'guaranteed')}/a/b`), 'aws')
      await guard.end()

      const counting = await start('audit')
      await counting.verified(({ mode }) => mode === 'audit')
      assert.equal(await host.fetch(below), 'aws')
      await host.list([...list, pod(newUid(), 'another')])
      await counting.verified(({ pods }) => pods.some(({ name }) => name === 'refused'))
      await counting.end()
    })
  })

describe('firewall host-network on a node', needsCgroups(), () => {
  let host: HostNetworkNode
  before(async () => {
    host = await openHostNetworkNode('systemd')
  })
  afterEach(() => host.reset())
  after(() => host?.close())

  test('reports a cgroup namespace of its own, where its rules would match nothing', async () => {
    const hidden = ['unshare', '--cgroup', ...AS_IN_CHART]
    await host.list([])
    const guard = await host.start('block', { wrapper: hidden })
    await until('it is reported', async () => /cgroup namespace/.test((await guard.status()).detail ?? ''))
    assert.equal((await guard.status()).verified, false)
    await guard.end()
  })

  test('reports to the guard, which shows this, notices its absence, and removes its rules when it should', async () => {
    const uid = await host.makePod()
    await host.list([pod(uid, 'someone')])
    const alone = await startGuard(host.node, [
      `--state-dir=${host.state}`,
      '--host-network=block',
      '--poll-interval=200ms',
    ])
    await alone.becomes('ready')
    const status = async () =>
      JSON.parse(
        (
          await host.node.run('node', [
            process.execPath,
            'node-guard/firewall/main.ts',
            'status',
            '--json',
            `--state-dir=${host.state}`,
          ])
        ).stdout,
      )
    await rm(join(host.state, 'host-network.json'), { force: true })
    await until('the missing report is noticed', async () =>
      JSON.stringify((await status()).warnings).includes(
        '"host-network","detail":"the container host-network has not reported',
      ),
    )
    assert.equal(await alone.metric('host_network_verified{mode="block"}'), 0)
    const guard = await host.start('block')
    await until(
      'it is verified',
      async () => (await alone.metric('host_network_verified{mode="block"}')) === 1,
    )
    assert.equal(await host.fetch(host.cgroup(uid)), 'ECONNREFUSED')
    await guard.end()
    await alone.end('SIGTERM')

    const off = await startGuard(host.node, [`--state-dir=${host.state}`])
    await off.becomes('ready')
    await until('the table is gone', async () => (await host.rules('nft')) === '')
    assert.equal(await host.fetch(host.cgroup(uid)), 'aws')
    assert.equal((await status()).hostNetwork, null)
    await off.end('SIGTERM')
  })

  test('keeps its rules beside a guard that uses iptables, too, and neither of them repairs the other’s rules', async () => {
    const uid = await host.makePod()
    await host.list([pod(uid, 'someone')])
    const beside = await startGuard(host.node, [
      ...[`--state-dir=${host.state}`, '--host-network=block', '--backend=iptables'],
      '--poll-interval=200ms',
    ])
    await beside.becomes('ready')
    const guard = await host.start('block', { backend: 'iptables-nft' })
    await guard.verified()
    // The guard adds its jump again, so it is the first one.
    await host.shell('iptables-nft -D OUTPUT -j POD2IAM-OUTPUT')
    await until('a repair is counted', async () => (await beside.repairs()) === 1)
    await host.list([pod(uid, 'someone'), pod(newUid(), 'another')])
    await guard.verified()
    const jumps = (await host.node.must('node', ['iptables-nft', '-S', 'OUTPUT'])).trim().split('\n').slice(1)
    assert.deepEqual(jumps, ['-A OUTPUT -j POD2IAM-OUTPUT', '-A OUTPUT -j POD2IAM_HOST-OUTPUT'])
    assert.equal(await beside.repairs(), 1)
    assert.equal((await guard.status()).repairs, 0)
    assert.equal(await host.fetch(host.cgroup(uid)), 'ECONNREFUSED')
    const text = await host.node.must('node', [process.execPath, MAIN, 'status', `--state-dir=${host.state}`])
    assert.match(text, /host network +block by iptables-nft, verified/)
    await guard.end()
    await beside.end('SIGTERM')
  })

  for (const [earlier, later] of [
    ['iptables-nft', 'nft'],
    ['nft', 'iptables-nft'],
  ] as const)
    test(`has its rules of ${earlier} removed by the guard as soon as those of ${later} are loaded`, async () => {
      const uid = await host.makePod()
      await host.list([pod(uid, 'someone')])
      const before = await host.start('block', { backend: earlier })
      await before.verified()
      await before.end()
      const flags = [`--state-dir=${host.state}`, '--host-network=block', '--poll-interval=200ms']
      const beside = await startGuard(host.node, flags)
      const guard = await host.start('block', { backend: later })
      await until('the earlier rules are removed', async () => (await host.rules(earlier)) === '')
      await guard.verified()
      assert.equal(await host.fetch(host.cgroup(uid)), 'ECONNREFUSED')
      await beside.end('SIGTERM')
    })

  test('uses iptables with --backend=auto if nft does not work, and logs why', async () => {
    await host.list([])
    const guard = await host.start('block', { wrapper: [...withoutTools(['nft']), ...AS_IN_CHART] })
    await guard.verified()
    assert.equal((await guard.status()).backend, 'iptables-nft')
    const chosen = guard.logs.find(({ msg }) => msg === 'backend chosen')
    assert.match(String(chosen?.why), /nft cannot be run/)
    await guard.end()
  })

  test('causes a warning with the reason for each backend if none works, and a metric of 0', async () => {
    await host.list([])
    const flags = [`--state-dir=${host.state}`, '--host-network=block', '--poll-interval=200ms']
    const beside = await startGuard(host.node, flags)
    await beside.becomes('ready')
    const wrapper = [...withoutTools(['nft', ...IPTABLES_TOOLS]), ...AS_IN_CHART]
    const guard = await host.start('block', { wrapper })
    const says =
      /no backend works on this node: nft: nft cannot be run .+; iptables-nft: iptables-nft cannot be run .+; iptables-legacy: iptables-legacy cannot be run /
    await until('it is reported', async () => says.test((await guard.status()).detail ?? ''))
    assert.equal((await guard.status()).verified, false)
    const shownWarnings = async () => {
      const argv = [process.execPath, MAIN, 'status', '--json', `--state-dir=${host.state}`]
      return JSON.parse((await host.node.run('node', argv)).stdout).warnings
    }
    await until('the guard warns', async () =>
      (await shownWarnings()).some(
        ({ code, detail }: Record<string, string>) => code === 'host-network' && says.test(detail ?? ''),
      ),
    )
    assert.equal(await beside.metric('host_network_verified{mode="block"}'), 0)
    await guard.end()
    await beside.end('SIGTERM')
  })

  test('does not block changes of other tables by its rules of iptables-legacy for a cgroup that is gone', async () => {
    const uid = await host.makePod()
    await host.list([pod(uid, 'someone', true)])
    const guard = await host.start('block', { backend: 'iptables-legacy' })
    await guard.verified()
    await guard.end()
    await host.end(host.cgroup(uid))
    const writes = 'iptables-legacy -A INPUT -j ACCEPT; iptables-legacy -D INPUT -j ACCEPT'
    await host.shell(writes)
    const elsewhere = host.within(`${host.cgroup(newUid())}/container`, ['unshare', '--cgroup', 'sh', '-ec'])
    await host.node.must('node', [...elsewhere, writes])
    // The missing cgroup does not block its own next load either.
    const next = await host.start('block', { backend: 'iptables-legacy' })
    await next.verified()
    await next.end()
  })

  for (const backend of BACKENDS)
    test(`leaves no rules of ${backend} after \`remove\``, async () => {
      const uid = await host.makePod()
      await host.list([pod(uid, 'someone')])
      const guard = await host.start('block', { backend })
      await guard.verified()
      await guard.end()
      assert.notEqual(await host.rules(backend), '')
      assert.equal(await host.fetch(host.cgroup(uid)), REFUSED[backend])
      await host.node.must('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
      for (const each of BACKENDS) assert.equal(await host.rules(each), '')
      assert.equal(await host.fetch(host.cgroup(uid)), 'aws')
    })
})

test('firewall host-network loads nothing on a node with cgroup v1, and reports in one sentence what to do', async () => {
  const keeper = createHostNetworkReconciler({
    ...{
      backends: [],
      mode: 'block',
      metadata: METADATA,
      broker: BROKER_ADDRESSES,
      now: Date.now,
      log: silentLog,
    },
    self: async () =>
      '4:memory:/kubepods/burstable/pod1-2/abc\n1:name=systemd:/kubepods/burstable/pod1-2/abc\n0::/\n',
    readPods: async () => ({ ok: true, pods: [] }),
    prove: async () => assert.fail('there are no rules to check'),
  })
  await keeper.check(true)
  const { verified, detail, backend } = keeper.state()
  assert.deepEqual({ verified, backend }, { verified: false, backend: undefined })
  assert.match(detail ?? '', /^this node has cgroup v1, .+: boot it with cgroup v2 \(\S+\)$/)
})
