/** Pods on the host network, as real processes in real cgroups: who is refused, and how the rules are kept. */
import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { until } from '../support/until.ts'
import { startGuard } from './guard-process.ts'
import {
  AS_IN_CHART,
  CLASSES,
  type HostNetworkNode,
  METADATA,
  needsCgroups,
  newUid,
  openHostNetworkNode,
} from './host-network-node.ts'

const pod = (uid: string, name: string, allowed = false) => ({ uid, namespace: 'default', name, allowed })

for (const driver of ['systemd', 'cgroupfs'] as const)
  describe(`--host-network=block, cgroup driver ${driver}`, needsCgroups(), () => {
    let host: HostNetworkNode
    before(async () => {
      host = await openHostNetworkNode(driver)
    })
    after(() => host?.close())

    test('refuses every pod but those that are allowed, and never the host', async () => {
      const uids = await Promise.all(CLASSES.map(host.makePod))
      const allowed = await Promise.all(CLASSES.map(host.makePod))
      await host.list([
        ...uids.map((uid, index) => pod(uid, `refused-${index}`)),
        ...allowed.map((uid, index) => pod(uid, `allowed-${index}`, true)),
      ])
      const guard = await host.start('block')
      await guard.verified()
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
          ...Object.fromEntries(CLASSES.map((which) => [`refused ${which}`, 'ECONNREFUSED'])),
          ...Object.fromEntries(CLASSES.map((which) => [`allowed ${which}`, 'aws'])),
          ...{ own: 'aws', unlisted: 'ECONNREFUSED', host: 'aws', neighbour: 'aws' },
        })
      await host.list([...uids, newUid()].map((uid, index) => pod(uid, `refused-${index}`)))
      await guard.verified(
        ({ packets: { allowed, others, unknown }, pods }) =>
          allowed > 0 && others >= 6 && unknown >= 2 && pods.some(({ name }) => name === 'refused-2'),
      )
      // What is no longer on the list is no longer let through.
      const [, formerly = ''] = allowed
      await until('it is refused', async () => (await host.fetch(host.cgroup(formerly))) === 'ECONNREFUSED')
    })
  })

describe('what keeps the rules about the host network', needsCgroups(), () => {
  let host: HostNetworkNode
  before(async () => {
    host = await openHostNetworkNode('systemd')
  })
  after(() => host?.close())

  test('before the broker’s list is known nothing is refused that was not refused before, and it is said', async () => {
    const uid = await host.makePod()
    const guard = await host.start('block')
    await until('it waits for the list', async () => /has not told/.test((await guard.status()).detail ?? ''))
    assert.equal(await host.fetch(host.cgroup(uid)), 'aws')
    await host.list([])
    await guard.verified()
    assert.equal(await host.fetch(host.cgroup(uid)), 'ECONNREFUSED')
    await guard.end()

    await rm(join(host.state, 'host-pods.json'))
    const next = await host.start('block')
    await until('it waits, too', async () => /has not told/.test((await next.status()).detail ?? ''))
    assert.equal(await host.fetch(host.cgroup(uid)), 'ECONNREFUSED')
    await host.list([])
    await next.verified()
    await next.end()
  })

  test('a list that is damaged changes nothing and is reported, until there is a good one', async () => {
    const uid = await host.makePod()
    await host.list([pod(uid, 'needed', true)])
    const guard = await host.start('block')
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

  test('a pod is let through as soon as it has a cgroup, also one that was made again', async () => {
    const uid = newUid()
    await host.list([pod(uid, 'late', true)])
    const guard = await host.start('block')
    await guard.verified()
    const pass = () =>
      until('it passes', async () => (await host.fetch(host.cgroup(uid))) === 'aws', { deadlineMs: 30_000 })
    await pass()
    const moved = host.cgroup(uid)
    await host.end(moved)
    await until(
      'the rules forget it',
      async () => !(await host.table()).stdout.includes(`${uid.replaceAll('-', '_')}.slice`),
    )
    await pass()
    await guard.end()
  })

  test('what another program flushes, changes or deletes is loaded again', async () => {
    const uid = await host.makePod()
    await host.list([pod(uid, 'someone')])
    const guard = await host.start('block')
    await guard.verified()
    const { repairs } = await guard.status()
    for (const [index, command] of [
      'flush ruleset',
      'delete table inet pod2iam_hostnet',
      'insert rule inet pod2iam_hostnet output accept',
      'flush chain inet pod2iam_hostnet judge',
    ].entries()) {
      await host.node.must('node', ['nft', command])
      await guard.verified((known) => known.repairs > repairs + index)
      assert.equal(await host.fetch(host.cgroup(uid)), 'ECONNREFUSED')
    }
    await guard.end()
  })

  test('cgroups that a pod makes below its own are its own; audit mode counts and refuses nothing', async () => {
    const [refused, allowed] = [await host.makePod(), await host.makePod('guaranteed')]
    const below = `${host.cgroup(refused)}/container/init.scope/kubepods.slice`
    const list = [pod(refused, 'refused'), pod(allowed, 'allowed', true)]
    await host.list(list)
    const guard = await host.start('block')
    await guard.verified()
    assert.equal(await host.fetch(below), 'ECONNREFUSED')
    assert.equal(await host.fetch(`${host.cgroup(allowed, 'guaranteed')}/a/b`), 'aws')
    await guard.end()

    const counting = await host.start('audit')
    await counting.verified(({ mode }) => mode === 'audit')
    assert.equal(await host.fetch(below), 'aws')
    await host.list([...list, pod(newUid(), 'another')])
    await counting.verified(({ pods }) => pods.some(({ name }) => name === 'refused'))
    await counting.end()
  })

  test('in a cgroup namespace of its own, where rules would match nothing, it says so', async () => {
    const hidden = ['unshare', '--cgroup', ...AS_IN_CHART]
    await host.list([])
    const guard = await host.start('block', { wrapper: hidden })
    await until('it is reported', async () => /cgroup namespace/.test((await guard.status()).detail ?? ''))
    assert.equal((await guard.status()).verified, false)
    await guard.end()
  })

  test('the guard serves what is reported, says when nothing is, and removes the rules when it is to', async () => {
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
    await until('it is missed', async () =>
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
    await until('the table is gone', async () => (await host.table()).code !== 0)
    assert.equal(await host.fetch(host.cgroup(uid)), 'aws')
    assert.equal((await status()).hostNetwork, null)
    await off.end('SIGTERM')
  })
})
