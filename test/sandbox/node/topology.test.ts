import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createSandbox, needsNamespaces, type Sandbox } from '../index.ts'
import type { PodNetwork } from './network.ts'
import { nextPodNumber, type Topology } from './topology.ts'

test('pod numbers start again after the last one, so that they are reused as late as possible', () => {
  assert.equal(nextPodNumber(0, new Set()), 11)
  assert.equal(nextPodNumber(11, new Set([11])), 12)
  assert.equal(nextPodNumber(11, new Set()), 12)
  assert.equal(nextPodNumber(250, new Set([11])), 12)
})

test('a node without a free address says so', () => {
  const all = new Set(Array.from({ length: 240 }, (_, i) => i + 11))
  assert.throws(() => nextPodNumber(11, all), /all 240 pod addresses of the node are in use/)
})

const METADATA = ['http://169.254.169.254/', 'http://[fd00:ec2::254]/']
const SERVER = `const s = require('net').createServer((c) => c.end(c.remoteAddress.replace('::ffff:', '')))
s.listen(8000, '::', () => console.log('up'))`

for (const topology of ['routed', 'bridge'] as const satisfies Topology[])
  describe(`topology ${topology}`, needsNamespaces(), () => {
    let sandbox: Sandbox
    let one: PodNetwork
    let two: PodNetwork
    before(async () => {
      sandbox = await createSandbox({ topology })
      ;[one, two] = await Promise.all([sandbox.addNetwork(), sandbox.addNetwork()])
    })
    after(() => sandbox?.close())

    /** The peer address that a listener in `network` sees for a connection from `from`. */
    const peer = async (from: string, address: string) => {
      const script = `const c = require('net').connect(8000, '${address}'); c.pipe(process.stdout); setTimeout(() => process.exit(1), 120000).unref()`
      const { stdout } = await sandbox.exec(from, [process.execPath, '-e', script])
      return stdout
    }
    const listenIn = (network: string) =>
      new Promise((resolve) => {
        const child = sandbox.spawn(network, [process.execPath, '-e', SERVER], {
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        child.stdout?.once('data', resolve)
      })

    test('a pod and the node reach the metadata service over IPv4 and IPv6', async () => {
      for (const where of [one.network, 'node'])
        for (const url of METADATA) {
          const { code, stderr } = await sandbox.exec(where, ['curl', '-sSm20', '-o/dev/null', url])
          assert.equal(code, 0, `${where} ${url}: ${stderr}`)
        }
      const seen = new Set((await sandbox.aws.imdsRequests()).map(({ peer }) => peer))
      assert.deepEqual(seen, new Set([one.ipv4, one.ipv6, '10.0.0.10', 'fd00:10::10']))
    })

    test('pods reach STS and the API server', async () => {
      for (const url of [sandbox.aws.stsUrl, sandbox.api.url()]) {
        const { code, stderr } = await sandbox.exec(one.network, ['curl', '-sSkm20', '-o/dev/null', url])
        assert.equal(code, 0, `${url}: ${stderr}`)
      }
    })

    test('pods reach each other under their own addresses', async () => {
      await listenIn(two.network)
      assert.equal(await peer(one.network, two.ipv4), one.ipv4)
      assert.equal(await peer(one.network, two.ipv6), one.ipv6)
    })

    test('another host of the VPC reaches the node', async () => {
      await listenIn('node')
      assert.equal(await peer('aws', '10.0.0.10'), '10.0.0.2')
      assert.equal(await peer('aws', 'fd00:10::10'), 'fd00:10::2')
    })

    test('the node answers ARP requests of routed pods for every address, and not those of bridged pods', async () => {
      const host = topology === 'routed' ? `veth${one.ipv4.split('.')[3]}` : 'cni0'
      const { stdout } = await sandbox.exec('node', ['cat', `/proc/sys/net/ipv4/conf/${host}/proxy_arp`])
      assert.equal(stdout, topology === 'routed' ? '1\n' : '0\n')
    })

    test('a pod network can be removed while the node runs', async () => {
      const gone = await sandbox.addNetwork()
      await sandbox.removeNetwork(gone)
      const { stdout } = await sandbox.exec('node', ['ip', '-br', 'link'])
      assert.doesNotMatch(stdout, new RegExp(`veth${gone.ipv4.split('.')[3]}@`))
      assert.notEqual((await sandbox.exec(gone.network, ['true'])).code, 0)
    })
  })

test('br_netfilter can be switched off for bridged pods', needsNamespaces(), async (t) => {
  const key = '/proc/sys/net/bridge/bridge-nf-call-iptables'
  for (const bridgeNetfilter of [true, false]) {
    const sandbox = await createSandbox({ topology: 'bridge', bridgeNetfilter })
    try {
      const { stdout, code } = await sandbox.exec('node', ['cat', key])
      // Without the module the key does not exist, and bridged packets never pass the IP hooks.
      if (code !== 0) return t.skip('this kernel has no br_netfilter')
      assert.equal(stdout.trim(), bridgeNetfilter ? '1' : '0')
    } finally {
      await sandbox.close()
    }
  }
})
