/** `check`: before an installation, and of what is installed. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { createLoopbackSandbox, isReady, type LoopbackSandbox, needsNamespaces } from '../sandbox/index.ts'
import { VERSION as KUBERNETES } from '../sandbox/kube/server/version.ts'
import { type Door, openDoor, PROGRAM, run, userWith, widest } from './support.ts'

type Item = { id: string; state: string; code?: string; detail: string; remedy?: string }

async function items(kubeconfig: string): Promise<{ code: number | null; of: Record<string, Item> }> {
  const { code, stdout, stderr } = await run(['--kubeconfig', kubeconfig, 'check', '-o', 'json'])
  assert.notEqual(stdout, '', stderr)
  const { items } = JSON.parse(stdout) as { items: Item[] }
  return { code, of: Object.fromEntries(items.map((one) => [one.id, one])) }
}

const daemonSet = (namespace: string, name: string, container: object = {}) => ({
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name, namespace },
  spec: {
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      // No node has this label.
      spec: { nodeSelector: { nowhere: 'at-all' }, containers: [{ name, image: `${name}:1`, ...container }] },
    },
  },
})

describe('before an installation', () => {
  let sandbox: LoopbackSandbox
  let door: Door
  let kubeconfig = ''

  before(async () => {
    sandbox = await createLoopbackSandbox()
    door = await openDoor(sandbox.api)
    kubeconfig = await door.kubeconfig()
  })
  after(async () => {
    await door?.close()
    await sandbox?.close()
  })

  const node = (name: string, labels: Record<string, string>) =>
    sandbox.kube.create({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels } })

  test('a cluster without a node for it is not fit', async () => {
    const { code, of } = await items(kubeconfig)
    assert.equal(code, 1)
    assert.deepEqual([of.kubernetes?.state, of.kubernetes?.detail], ['ok', KUBERNETES.gitVersion])
    assert.equal(of.nodes?.code, 'no-linux-nodes')
    assert.equal(of['pod-security']?.code, 'namespace-missing')
    assert.equal(of.network?.code, 'network-unknown')
    assert.equal(of['other-tools']?.state, 'ok')
    assert.equal(of.imds?.code, 'imds-unknown')
    assert.equal(of.injector, undefined)
  })

  test('one with nodes, a network plugin and the namespace is: exit code 0', async () => {
    await node('linux', { 'kubernetes.io/os': 'linux' })
    await sandbox.kube.create(daemonSet('kube-system', 'aws-node'))
    await sandbox.kube.create({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name: 'pod2iam-system',
        labels: { 'pod-security.kubernetes.io/enforce': 'privileged' },
      },
    })
    const { code, of } = await items(kubeconfig)
    assert.equal(code, 0)
    assert.deepEqual(
      ['nodes', 'pod-security', 'network'].map((id) => of[id]?.state),
      ['ok', 'ok', 'ok'],
    )
    assert.match(of.network?.detail ?? '', /AWS VPC CNI/)
    const text = await run(['--kubeconfig', kubeconfig, 'check'])
    assert.match(text.stdout, /pod2iam is not installed yet: docs\/install\.md/)
    assert.match(text.stdout, /5 ok, 1 to know of\n/)
    assert.ok(widest(text.stdout) <= 80, `a line has ${widest(text.stdout)} columns`)
  })

  test('Windows and Fargate nodes, kube2iam, and a namespace that refuses the guard are named', async () => {
    await node('windows', { 'kubernetes.io/os': 'windows' })
    await node('fargate', { 'eks.amazonaws.com/compute-type': 'fargate' })
    await sandbox.kube.create(daemonSet('kube-system', 'kube2iam'))
    await sandbox.kube.patch('namespaces', 'pod2iam-system', undefined, {
      metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } },
    })
    const { code, of } = await items(kubeconfig)
    assert.equal(code, 1)
    assert.deepEqual(
      ['nodes', 'pod-security', 'other-tools'].map((id) => of[id]?.code),
      ['nodes-without-injection', 'pod-security', 'other-tool'],
    )
    assert.match(of['pod-security']?.remedy ?? '', /^kubectl label --overwrite namespace pod2iam-system/)
    assert.match(of['other-tools']?.detail ?? '', /^kube-system\/kube2iam runs/)
  })

  test('dataplanes that go round netfilter: Calico’s eBPF, and Cilium unless it routes by the host', async () => {
    const env = [{ name: 'FELIX_BPFENABLED', value: 'true' }]
    await sandbox.kube.create(daemonSet('kube-system', 'calico-node', { env }))
    assert.equal((await items(kubeconfig)).of.network?.code, 'dataplane-bypass')
    await sandbox.kube.create(daemonSet('kube-system', 'cilium'))
    assert.equal((await items(kubeconfig)).of.network?.code, 'dataplane-cilium')
    await sandbox.kube.create({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'cilium-config', namespace: 'kube-system' },
      data: { 'enable-host-legacy-routing': 'true' },
    })
    assert.equal((await items(kubeconfig)).of.network?.state, 'ok')
  })

  test('who may see little is told what was not checked, and that this is no "all well"', async () => {
    const token = await userWith(sandbox.kube, 'nobody-much', [
      { nonResourceURLs: ['/version'], verbs: ['get'] },
    ])
    const { code, stdout } = await run(['--kubeconfig', await door.kubeconfig({ token }), 'check'])
    assert.equal(code, 2)
    assert.match(stdout, /- nodes +not checked: nodes may not be listed/)
    assert.match(stdout, /whether pod2iam is installed may not be seen/)
    for (const asked of ['list daemonsets.apps in all namespaces', 'list pods in namespace pod2iam-system'])
      assert.ok(stdout.includes(`\n  ${asked}\n`), asked)
  })
})

describe('of what is installed', needsNamespaces(), () => {
  let cluster: Cluster
  let door: Door
  let kubeconfig = ''

  before(async () => {
    cluster = await createCluster({ firewallArgs: ['--poll-interval=1s'] })
    door = await openDoor(cluster.api)
    kubeconfig = await door.kubeconfig()
    await cluster.role('shop-orders')
    await cluster.namespace('shop', { allowed: ['arn:aws:iam::111111111111:role/shop-*'] })
    const pod = await cluster.pod('shop/orders', {
      annotations: { 'iam.amazonaws.com/role': cluster.aws.roleArn('shop-orders') },
    })
    await cluster.pods.waitFor(pod, isReady)
  })
  after(async () => {
    await door?.close()
    await cluster?.close()
  })

  test('all of it works: exit code 0, and warnings for what a sandbox has not', async () => {
    const { code, of } = await items(kubeconfig)
    assert.equal(code, 0, JSON.stringify(of, null, 1))
    assert.deepEqual(
      Object.fromEntries(Object.entries(of).map(([id, { state, code }]) => [id, code ?? state])),
      {
        ...{ kubernetes: 'ok', nodes: 'ok', 'pod-security': 'pod-security-unlabelled' },
        ...{ network: 'network-unknown', 'other-tools': 'ok', injector: 'injector-single' },
        ...{ webhooks: 'ok', policies: 'ok', guards: 'ok', settings: 'ok', imds: 'imds-v1' },
        ...{ leftovers: 'ok', warnings: 'ok', versions: 'ok', pods: 'ok' },
      },
    )
    const text = await run(['--kubeconfig', kubeconfig, 'check'])
    assert.ok(widest(text.stdout) <= 80, `a line has ${widest(text.stdout)} columns`)
    assert.match(text.stdout, /✔ node guards +the block stands on 1 of 1 nodes/)
  })

  test('a pod without credentials is told of, with the command that says why', async () => {
    await cluster.pod('shop/stuck', {
      annotations: { 'iam.amazonaws.com/role': cluster.aws.roleArn('shop-nowhere') },
    })
    const { of } = await items(kubeconfig)
    assert.equal(of.pods?.code, 'pods-waiting')
    assert.match(of.pods?.detail ?? '', /pod2iam -n shop explain stuck/)
    await cluster.kube.delete('pods', 'stuck', 'shop')
  })

  test('kube2iam beside a guard that enforces is wrong', async () => {
    await cluster.kube.create(daemonSet('kube-system', 'kube2iam'))
    try {
      const { code, of } = await items(kubeconfig)
      assert.deepEqual([code, of['other-tools']?.code], [1, 'other-tool-beside-enforce'])
    } finally {
      await cluster.kube.delete('daemonsets', 'kube2iam', 'kube-system')
    }
  })

  test('--wait: until nothing is wrong any more, and it says meanwhile what is', async () => {
    const guard = await cluster.guard()
    cluster.pods.kill(guard, 'firewall', 'SIGSTOP')
    const deadline = Date.now() + 60_000
    while ((await items(kubeconfig)).of.guards?.code !== 'guard-silent') assert.ok(Date.now() < deadline)
    const child = spawn(process.execPath, [PROGRAM, '--kubeconfig', kubeconfig, 'check', '--wait'], {
      stdio: 'pipe',
      env: { PATH: process.env.PATH },
    })
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
    })
    const told = new Promise<void>((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (text) => {
        stderr += text
        if (stderr.includes('node guards')) resolve()
      })
    })
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    await Promise.race([told, ended])
    assert.match(stderr, /node guards: 1 of 1 nodes/)
    cluster.pods.kill(guard, 'firewall', 'SIGCONT')
    assert.equal(await ended, 0, stdout)
    assert.match(stdout, /✔ node guards/)
  })

  test('--wait gives up when its time is over, with what is wrong', async () => {
    await cluster.kube.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'bare' } })
    try {
      const { code, stdout } = await run(['--kubeconfig', kubeconfig, 'check', '--wait', '--timeout=1'])
      assert.equal(code, 1)
      assert.match(stdout, /✖ node guards +guard-missing: 1 of 2 nodes; bare:/)
    } finally {
      await cluster.kube.delete('nodes', 'bare')
    }
  })

  test('without webhooks, policies or an injector: each is wrong by its code', async () => {
    for (const { metadata } of (await cluster.kube.list('mutatingwebhookconfigurations')).items)
      await cluster.kube.delete('mutatingwebhookconfigurations', metadata.name ?? '')
    for (const { metadata } of (await cluster.kube.list('validatingadmissionpolicybindings')).items)
      await cluster.kube.delete('validatingadmissionpolicybindings', metadata.name ?? '')
    const before = await items(kubeconfig)
    assert.deepEqual(
      [before.of.webhooks?.code, before.of.policies?.code],
      ['webhooks-missing', 'policies-missing'],
    )
    const injector = await cluster.injector()
    cluster.pods.kill(injector, 'injector', 'SIGSTOP')
    const deadline = Date.now() + 60_000
    for (;;) {
      const { of } = await items(kubeconfig)
      if (of.injector?.code === 'injector-not-ready') break
      assert.ok(Date.now() < deadline, JSON.stringify(of.injector))
    }
    cluster.pods.kill(injector, 'injector', 'SIGCONT')
    await cluster.kube.patch('deployments', 'pod2iam-injector', 'pod2iam-system', { spec: { replicas: 0 } })
    for (;;) {
      const { of } = await items(kubeconfig)
      if (of.injector?.code === 'injector-missing') break
      assert.ok(Date.now() < deadline, JSON.stringify(of.injector))
    }
  })
})

describe('injector and broker with different settings', needsNamespaces(), () => {
  test('are wrong, by the flag that differs', async () => {
    const cluster = await createCluster({ brokerArgs: ['--namespace-restriction-format=regexp'] })
    const door = await openDoor(cluster.api)
    try {
      const { of } = await items(await door.kubeconfig())
      assert.equal(of.settings?.code, 'settings-differ')
      assert.match(
        of.settings?.detail ?? '',
        /--namespace-restriction-format of the injector is glob, and of the broker regexp/,
      )
    } finally {
      await door.close()
      await cluster.close()
    }
  })
})
