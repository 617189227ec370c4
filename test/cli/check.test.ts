/** `check` of an installation. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { isReady, type KubeObject, needsNamespaces } from '../sandbox/index.ts'
import { createAuthority } from '../sandbox/kube/client/certificates.ts'
import { daemonSet, items } from './check-items.ts'
import { type Door, openDoor, PROGRAM, run, widest } from './support.ts'

type Webhooks = KubeObject & { readonly webhooks: readonly { readonly clientConfig: object }[] }

describe('check of an installation', needsNamespaces(), () => {
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

  test('passes, with exit code 0 and warnings about what a sandbox does not have', async () => {
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
    assert.match(text.stdout, /✔ node guards +the block is in place on 1 of 1 nodes/)
  })

  test('finds a rule that kube2iam left on a node', async () => {
    const rule = '-d 169.254.169.254/32 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.10:8181'
    const iptables = (what: string) =>
      cluster.exec('node', ['iptables-nft', '-t', 'nat', what, 'PREROUTING', ...rule.split(' ')])
    assert.equal((await iptables('-A')).code, 0)
    const { leftovers } = (await items(kubeconfig)).of
    await iptables('-D')
    assert.equal(leftovers?.code, 'leftover')
    assert.match(leftovers?.detail ?? '', /iptables-nft -t nat -D PREROUTING -d 169\.254\.169\.254\/32/)
  })

  test('finds an unfinished upgrade, in which the injector and the node guards have different releases', async () => {
    const labels = { 'app.kubernetes.io/name': 'pod2iam', 'app.kubernetes.io/component': 'injector' }
    const [name, namespace] = ['pod2iam-injector-next', 'pod2iam-system']
    await cluster.kube.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace, labels },
      spec: {
        nodeSelector: { nowhere: 'at-all' },
        containers: [{ name: 'injector', image: 'pod2iam/injector:0.2.0' }],
      },
    })
    const { versions } = (await items(kubeconfig)).of
    await cluster.kube.delete('pods', name, namespace)
    assert.equal(versions?.code, 'version-skew')
    assert.match(versions?.detail ?? '', /have releases 0\.2\.0 and dev/)
  })

  test('names a pod without credentials, with the command that says why', async () => {
    await cluster.pod('shop/stuck', {
      annotations: { 'iam.amazonaws.com/role': cluster.aws.roleArn('shop-nowhere') },
    })
    const { of } = await items(kubeconfig)
    assert.equal(of.pods?.code, 'pods-waiting')
    assert.match(of.pods?.detail ?? '', /pod2iam -n shop explain stuck/)
    await cluster.kube.delete('pods', 'stuck', 'shop')
  })

  test('fails for kube2iam beside a guard that enforces', async () => {
    await cluster.kube.create(daemonSet('kube-system', 'kube2iam'))
    try {
      const { code, of } = await items(kubeconfig)
      assert.deepEqual([code, of['other-tools']?.code], [1, 'other-tool-beside-enforce'])
    } finally {
      await cluster.kube.delete('daemonsets', 'kube2iam', 'kube-system')
    }
  })

  test('with --wait ends when nothing is wrong any more, and prints until then what is wrong', async () => {
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
    const printed = new Promise<void>((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (text) => {
        stderr += text
        if (stderr.includes('node guards')) resolve()
      })
    })
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    await Promise.race([printed, ended])
    assert.match(stderr, /node guards: 1 of 1 nodes/)
    cluster.pods.kill(guard, 'firewall', 'SIGCONT')
    assert.equal(await ended, 0, stdout)
    assert.match(stdout, /✔ node guards/)
  })

  test('with --wait gives up after the timeout, and prints what is wrong', async () => {
    await cluster.kube.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'bare' } })
    try {
      const { code, stdout } = await run(['--kubeconfig', kubeconfig, 'check', '--wait', '--timeout=1'])
      assert.equal(code, 1)
      assert.match(stdout, /✖ node guards +guard-missing: 1 of 2 nodes; bare:/)
    } finally {
      await cluster.kube.delete('nodes', 'bare')
    }
  })

  test('finds a certificate authority that is missing in the webhooks, has expired, or expires within a week', async () => {
    const injector = await cluster.injector()
    // A running injector would correct the following changes at once.
    cluster.pods.kill(injector, 'injector', 'SIGSTOP')
    const kind = 'mutatingwebhookconfigurations'
    const [one] = (await cluster.kube.list<Webhooks>(kind)).items
    assert.ok(one)
    const day = 86_400_000
    // An authority of the sandbox is valid for a year.
    const bundle = async (days: number) =>
      Buffer.from((await createAuthority('pod2iam', Date.now() + days * day)).caPem).toString('base64')
    const withBundle = (caBundle: string) => ({
      webhooks: one.webhooks.map((hook) => ({ ...hook, clientConfig: { ...hook.clientConfig, caBundle } })),
    })
    for (const [caBundle, code] of [
      ['', 'ca-bundle-missing'],
      [await bundle(-366), 'ca-expired'],
      [await bundle(-362), 'ca-expiring'],
    ] as const) {
      await cluster.kube.patch(kind, one.metadata.name ?? '', undefined, withBundle(caBundle))
      assert.equal((await items(kubeconfig)).of.webhooks?.code, code)
    }
    cluster.pods.kill(injector, 'injector', 'SIGCONT')
  })

  test('finds missing webhooks, missing policies and a missing injector, each with its code', async () => {
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

describe('check where guards only count', needsNamespaces(), () => {
  test('says that they block nothing', async () => {
    const cluster = await createCluster({ firewallArgs: ['--mode=audit'] })
    const door = await openDoor(cluster.api)
    try {
      const { of } = await items(await door.kubeconfig())
      assert.equal(of.guards?.code, 'not-enforcing')
      assert.match(of.guards?.detail ?? '', /1 of 1 nodes refuse nothing \(mode audit\)/)
    } finally {
      await door.close()
      await cluster.close()
    }
  })
})

describe('check of an injector and a broker with different settings', needsNamespaces(), () => {
  test('names the flag that differs', async () => {
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
