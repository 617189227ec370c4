import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { nodesOf, PODS, SERVICES } from './layout.ts'
import { nodeFiles, RUNC } from './node-files.ts'

const NODES = nodesOf(37)
const site = {
  shared: '/run/x/shared',
  own: '/run/x/node-1',
  plugins: '/usr/lib/cni',
  cgroup: 'pod2iam-1',
  cgroups: 'machine',
  minor: 37,
} as const

test('the two nodes differ in name, address, pod range and kube-proxy mode, and no ranges overlap', () => {
  assert.deepEqual(
    NODES.map(({ proxyMode }) => proxyMode),
    ['iptables', 'nftables'],
  )
  for (const key of ['name', 'address', 'subnet', 'link'] as const)
    assert.equal(new Set(NODES.map((plan) => plan[key])).size, NODES.length, key)
  for (const { subnet } of NODES)
    assert.equal(subnet.split('.').slice(0, 2).join(), PODS.split('.').slice(0, 2).join())
  assert.notEqual(PODS.split('.').slice(0, 2).join(), SERVICES.split('.').slice(0, 2).join())
})

test('a node’s programs read their files from its own directory and from the shared one', () => {
  for (const plan of NODES) {
    const files = nodeFiles(plan, site)
    const kubelet = JSON.parse(files['kubelet.json'] ?? '')
    assert.equal(kubelet.tlsCertFile, `/run/x/shared/${plan.name}.crt`)
    assert.equal(kubelet.cgroupRoot, `/pod2iam-1/${plan.name}`)
    // So that the test does not reboot the machine as the node (test/cluster/rebooting.ts).
    assert.match(kubelet.providerID, /^namespace:/)
    assert.equal(JSON.parse(files['kube-proxy.json'] ?? '').mode, plan.proxyMode)
    const [bridge] = JSON.parse(files['cni/10-bridge.conflist'] ?? '').plugins
    assert.deepEqual(bridge.ipam.ranges, [[{ subnet: plan.subnet }]])
    assert.equal(bridge.ipMasq, false)
  }
})

test('kube-proxy and kubelet do not change the sysctls or the swap of the machine', () => {
  const [plan] = NODES
  assert.ok(plan)
  const files = nodeFiles(plan, site)
  assert.deepEqual(JSON.parse(files['kube-proxy.json'] ?? '').conntrack, {
    maxPerCore: 0,
    min: 0,
    tcpEstablishedTimeout: '0s',
    tcpCloseWaitTimeout: '0s',
  })
  assert.equal(JSON.parse(files['kubelet.json'] ?? '').failSwapOn, false)
})

test('the programs of Kubernetes 1.29 get no setting that they do not support', () => {
  const plans = nodesOf(29)
  assert.deepEqual(
    plans.map(({ proxyMode }) => proxyMode),
    ['iptables', 'iptables'],
  )
  const kubeletOf = (minor: number) =>
    JSON.parse(nodeFiles(plans[0] ?? assert.fail(), { ...site, minor })['kubelet.json'] ?? '')
  assert.deepEqual([kubeletOf(29).failCgroupV1, kubeletOf(31).failCgroupV1], [undefined, false])
})

test('a node with cgroup v2 but without controllers starts containers without the limits that need them', () => {
  const [plan] = NODES
  assert.ok(plan)
  assert.doesNotMatch(nodeFiles(plan, site)['containerd.toml'] ?? '', /BinaryName/)
  assert.equal(nodeFiles(plan, site)[RUNC], undefined)
  const files = nodeFiles(plan, { ...site, cgroups: 'v2' })
  assert.match(files['containerd.toml'] ?? '', /runc\.options\]\n {2}BinaryName = "\/run\/x\/node-1\/runc"\n/)
  const directory = mkdtempSync(join(tmpdir(), 'runc-'))
  try {
    const write = (name: string, text: string) => writeFileSync(join(directory, name), text, { mode: 0o700 })
    write(RUNC, files[RUNC] ?? '')
    mkdirSync(join(directory, 'bin'))
    write('bin/runc', '#!/bin/sh\necho "$@"\nexit 7\n')
    const config = join(directory, 'config.json')
    const devices = [{ allow: false, access: 'rwm' }]
    const before = { root: {}, linux: { cgroupsPath: '/a', resources: { devices, memory: { limit: 1 } } } }
    const run = (...argv: string[]) => {
      writeFileSync(config, JSON.stringify(before))
      const env = { PATH: `${join(directory, 'bin')}:${process.env.PATH}` }
      const { status, stdout } = spawnSync(join(directory, RUNC), argv, { env, encoding: 'utf8' })
      assert.deepEqual([status, stdout], [7, `${argv.join(' ')}\n`])
      return JSON.parse(readFileSync(config, 'utf8'))
    }
    assert.deepEqual(run('--root', '/r', 'delete', 'id'), before)
    const created = run('--root', '/r', 'create', '--bundle', directory, 'id')
    assert.deepEqual(created, { root: {}, linux: { cgroupsPath: '/a', resources: { devices } } })
  } finally {
    rmSync(directory, { recursive: true })
  }
})
