/** Pods on the host network that are early, late, of a later installation, or that take the broker's port. */
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { BROKER_ADDRESSES, BROKER_PORT } from '../../common/addresses.ts'
import { KEYS } from '../../common/keys.ts'
import { hostPods } from '../../node-guard/broker/kubernetes/host-pods.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { until } from '../support/until.ts'
import {
  BACKENDS,
  type HostNetworkNode,
  METADATA,
  needsCgroups,
  newUid,
  openHostNetworkNode,
  REFUSED,
} from './host-network-node.ts'

for (const backend of BACKENDS)
  describe(`block by ${backend}`, needsCgroups(), () => {
    let host: HostNetworkNode
    before(async () => {
      host = await openHostNetworkNode('systemd')
    })
    afterEach(() => host.reset())
    after(() => host?.close())

    test('a connection that a pod opened before the block is cut by it', async () => {
      const uid = await host.makePod()
      await host.list([])
      const agent = await host.agentIn(host.cgroup(uid))
      const id = 'early'
      assert.equal(await agent.open({ id, host: METADATA[0], port: 80 }), 'aws')
      assert.equal(await agent.say({ id, text: 'hello' }), 'hello')
      const guard = await host.start('block', { backend })
      await guard.verified()
      assert.notEqual(await agent.say({ id, text: 'again' }), 'again')
    })

    test('a node guard of a later installation is let through before its broker has reported any pods', async () => {
      await host.list([])
      const first = await host.start('block', { backend })
      await first.verified()
      await first.end()
      await rm(join(host.state, 'host-pods.json'))
      const next = await host.start('block', { backend })
      await until('it waits for the list', async () =>
        /has not reported which pods/.test((await next.status()).detail ?? ''),
      )
      assert.equal(await host.fetch(host.cgroup(first.uid)), 'aws')
      assert.equal(await host.fetch(host.cgroup(next.uid)), 'aws', REFUSED[backend])
    })

    /** What a sidecar gets from whoever listens on the broker's port. */
    const ask = async () => {
      const client = await host.node.agent('pod1')
      const asked = BROKER_ADDRESSES.map((address) =>
        client.ask({ host: address, port: BROKER_PORT, text: 'token', patience: 2000 }),
      )
      return Promise.all(asked)
    }
    const listen = async (path: string, name: string) => {
      const agent = await host.agentIn(path)
      for (const any of ['0.0.0.0', '::'])
        assert.equal(await agent.listen({ host: any, port: BROKER_PORT, name }), 'listening')
      return agent
    }

    test('a pod that takes the broker’s port gets no tokens from sidecars, and cannot answer them', async () => {
      for (const address of BROKER_ADDRESSES)
        await host.shell(`ip addr replace ${address} dev lo${address.includes(':') ? ' nodad' : ''}`)
      const uid = await host.makePod()
      await host.list([{ uid, namespace: 'default', name: 'thief', allowed: true }])
      const thief = await listen(host.cgroup(uid), 'thief')
      const counting = await host.start('audit', { backend })
      await counting.verified()
      assert.deepEqual(await ask(), ['thief token', 'thief token'])
      await until('it is logged', async () =>
        counting.logs.some(
          ({ code, detail }) => code === 'broker-port-taken' && /tokens/.test(String(detail)),
        ),
      )
      await counting.end()
      const heard = await thief.heard({})
      const guard = await host.start('block', { backend })
      await guard.verified()
      const fate = backend === 'nft' ? 'ECONNREFUSED' : 'silence'
      assert.deepEqual(await ask(), [fate, fate])
      assert.equal(await thief.heard({}), heard)
      await until('it is logged', async () => guard.logs.some(({ code }) => code === 'broker-port-taken'))
      await host.end(host.cgroup(uid))
      await listen(host.cgroup(guard.uid), 'broker')
      assert.deepEqual(await ask(), ['broker token', 'broker token'])
    })

    test('pods that come and go all the time do not delay an exception', async () => {
      const churn = [await host.makePod(), await host.makePod(), await host.makePod()]
      const needed = await host.makePod('guaranteed')
      const paths = churn.map((uid) => `/sys/fs/cgroup/${host.cgroup(uid)}`).join(' ')
      const loop = `while :; do rmdir ${paths}; sleep 0.01; mkdir ${paths}; sleep 0.01; done`
      const churning = host.node.spawn('node', ['sh', '-c', loop])
      await host.list([
        ...churn.map((uid) => ({ uid, namespace: 'default', name: 'churn', allowed: false })),
        { uid: needed, namespace: 'kube-system', name: 'needed', allowed: true },
      ])
      const guard = await host.start('block', { backend })
      await guard.verified()
      assert.equal(await host.fetch(host.cgroup(needed, 'guaranteed')), 'aws')
      churning.kill('SIGKILL')
    })

    test('a kubelet that restarts changes nothing: the same pods with new mirrors of static pods', async () => {
      const [uid, hash] = [await host.makePod(), await host.makePod('guaranteed')]
      const podsOf = (mirror: string) => [
        podRecord(
          { metadata: { uid, namespace: 'shop', name: 'scraper' }, spec: { hostNetwork: true } },
          KEYS.role,
        ),
        podRecord(
          {
            metadata: {
              ...{ uid: mirror, namespace: 'kube-system', name: 'static-node-1' },
              annotations: { 'kubernetes.io/config.hash': hash, 'kubernetes.io/config.mirror': hash },
            },
            spec: { hostNetwork: true },
          },
          KEYS.role,
        ),
      ]
      const listed = (mirror: string) =>
        hostPods(
          podsOf(mirror).filter((pod) => pod !== undefined),
          new Set(['kube-system']),
          [],
        )
      assert.deepEqual(listed(newUid()), listed(newUid()))
      await host.list(listed(newUid()))
      const guard = await host.start('block', { backend })
      await guard.verified()
      const rules = await host.rules(backend)
      await host.list(listed(newUid()))
      await guard.verified()
      assert.equal(withoutCounts(await host.rules(backend)), withoutCounts(rules))
      assert.equal(await host.fetch(host.cgroup(hash, 'guaranteed')), 'aws')
      assert.equal(await host.fetch(host.cgroup(uid)), REFUSED[backend])
    })
  })

describe('a node with many pods on the host network', needsCgroups(), () => {
  let host: HostNetworkNode
  before(async () => {
    host = await openHostNetworkNode('systemd')
  })
  after(() => host?.close())

  test('rules for 512 pods are loaded', async () => {
    const uids = Array.from({ length: 512 }, newUid)
    await host.shell(uids.map((uid) => `mkdir -p /sys/fs/cgroup/${host.cgroup(uid)}`).join('\n'))
    await host.list(uids.map((uid) => ({ uid, namespace: 'default', name: 'one', allowed: true })))
    const guard = await host.start('block')
    await until('they are loaded', async () => (await host.fetch(host.cgroup('99999999'))) === REFUSED.nft, {
      deadlineMs: 60_000,
      detail: () => JSON.stringify(guard.logs.slice(-3)),
    })
    assert.equal(await host.fetch(host.cgroup(uids.at(-1) ?? '')), 'aws')
  })
})

const withoutCounts = (rules: string) => rules.replace(/packets \d+ bytes \d+|\[\d+:\d+\] /g, '')
