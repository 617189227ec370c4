/** Other metadata addresses than the usual ones, and another tool's DNAT beside the guard, with each backend. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { SIDECAR_PORT } from '../../common/addresses.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { type GuardProcess, NET_ADMIN_ONLY, startGuard } from './guard-process.ts'
import { flushPod } from './mesh.ts'
import { MAIN, openNode, type TestNode } from './node.ts'

/** Two neighbours of the usual addresses, which are refused only when they are configured. */
const OTHERS = ['169.254.169.253', 'fd00:ec2::253']
const UNTOUCHED = [
  '169.254.169.254',
  'fd00:ec2::254',
  '169.254.169.123',
  '169.254.170.23',
  'fd00:ec2::23',
  '10.0.0.2',
]
const OTHER_ADDRESSES = `--metadata-address=${OTHERS.join(',')}`

for (const backend of ['nft', 'iptables'])
  describe(`firewall guard --backend=${backend}`, needsNamespaces(), () => {
    let node: TestNode
    let guard: GuardProcess
    before(async () => {
      node = await openNode()
      const [aws, host, pod] = await Promise.all([node.agent('aws'), node.agent('node'), node.agent('pod1')])
      for (const address of ['0.0.0.0', '::']) await aws.listen({ host: address, port: 80, name: 'aws' })
      await host.listen({ host: '0.0.0.0', port: 8181, name: 'kube2iam' })
      for (const address of ['127.0.0.1', '::1'])
        await pod.listen({ host: address, port: SIDECAR_PORT, name: 'sidecar' })
    })
    after(() => node?.close())
    afterEach(async () => {
      await guard.end('SIGKILL')
      await node.run('node', ['nft', 'flush ruleset'])
      await flushPod(node)
    })
    const start = async (...flags: string[]) => {
      guard = await startGuard(node, [`--backend=${backend}`, ...flags])
      await guard.becomes('ready')
    }
    const reach = async (host: string, network: 'pod1' | 'pod2' = 'pod1') =>
      (await (await node.agent(network)).tcp({ host, port: 80 })).outcome
    const gate = (...flags: string[]) =>
      node.run('pod1', [...NET_ADMIN_ONLY, process.execPath, MAIN, 'redirect', ...flags])

    describe('with other metadata addresses', () => {
      beforeEach(() => start(OTHER_ADDRESSES))

      test('refuses exactly these addresses', async () => {
        for (const host of OTHERS) assert.equal(await reach(host), 'ECONNREFUSED', host)
        for (const host of UNTOUCHED) assert.equal(await reach(host), 'aws', host)
      })

      test('lets the gate pass and redirect these addresses, and keeps a gate for the usual ones closed', async () => {
        const usual = await gate('--proof-timeout=300ms', '--proof-interval=50ms')
        assert.equal(usual.code, 1)
        assert.match(usual.stderr, /169\.254\.169\.254 answered, fd00:ec2::254 answered/)
        const result = await gate(OTHER_ADDRESSES)
        assert.equal(result.code, 0, result.stderr)
        assert.match(result.stdout, /"refused":\["169\.254\.169\.253","fd00:ec2::253"\]/)
        for (const host of OTHERS) assert.equal(await reach(host), 'sidecar', host)
        assert.equal(await reach('169.254.169.254'), 'aws')
      })
    })

    test('kube2iam’s own DNAT still works for its pods, and other pods are refused', async () => {
      await start()
      const dnat = `iptables -t nat -A PREROUTING -p tcp -d 169.254.169.254 --dport 80 -j DNAT --to-destination 10.0.0.10:8181 -i veth11`
      await node.must('node', dnat.split(' '))
      assert.equal(await reach('169.254.169.254', 'pod1'), 'kube2iam')
      assert.equal(await reach('169.254.169.254', 'pod2'), 'ECONNREFUSED')
      // The same holds when the guard starts later, or again.
      await guard.end('SIGTERM')
      await start()
      assert.equal(await reach('169.254.169.254', 'pod1'), 'kube2iam')
      assert.equal(await reach('169.254.169.254', 'pod2'), 'ECONNREFUSED')
    })
  })

describe('firewall redirect in a pod without any route', needsNamespaces(), () => {
  test('logs that no real endpoint can be reached, and loads the redirect', async () => {
    const node = await openNode()
    try {
      for (const family of ['-4', '-6'])
        await node.must('pod1', ['ip', family, 'route', 'flush', 'dev', 'eth0'])
      const argv = [...NET_ADMIN_ONLY, process.execPath, MAIN, 'redirect', '--proof-timeout=30s']
      const result = await node.run('pod1', argv)
      assert.equal(result.code, 0, result.stderr)
      assert.match(result.stdout, /"msg":"no real metadata endpoint can be reached"/)
      const pod = await node.agent('pod1')
      await pod.listen({ host: '127.0.0.1', port: SIDECAR_PORT, name: 'sidecar' })
      assert.equal((await pod.tcp({ host: '169.254.169.254', port: 80 })).outcome, 'sidecar')
    } finally {
      await node.close()
    }
  })
})
