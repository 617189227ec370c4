/** `check` before an installation: whether the cluster is suitable. This also runs with a real API server (test/sandbox/real/cli.test.ts). */
import assert from 'node:assert/strict'
import { createServer } from 'node:https'
import { after, before, describe, test } from 'node:test'
import { createLoopbackSandbox, type LoopbackSandbox } from '../sandbox/index.ts'
import { createAuthority } from '../sandbox/kube/client/certificates.ts'
import { daemonSet, items } from './check-items.ts'
import { type Door, openDoor, run, userWith, widest } from './support.ts'

describe('check before an installation', () => {
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

  test('fails for a cluster without a suitable node', async () => {
    const { code, of } = await items(kubeconfig)
    assert.equal(code, 1)
    assert.match(of.kubernetes?.detail ?? '', /\bv1\.\d+\.\d+/)
    assert.equal(of.nodes?.code, 'no-linux-nodes')
    assert.equal(of['pod-security']?.code, 'namespace-missing')
    assert.equal(of.network?.code, 'network-unknown')
    assert.equal(of['other-tools']?.state, 'ok')
    assert.equal(of.imds?.code, 'imds-unknown')
    assert.equal(of.injector, undefined)
  })

  test('passes, with exit code 0, for a cluster with nodes, a network plugin and the namespace', async () => {
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
    assert.match(text.stdout, /(?:5 ok, 1 warning|4 ok, 2 warnings)\n/)
    assert.ok(widest(text.stdout) <= 80, `a line has ${widest(text.stdout)} columns`)
  })

  test('names Windows and Fargate nodes, kube2iam, and a namespace that refuses the guard', async () => {
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

  test('names dataplanes that bypass netfilter: Calico’s eBPF, and Cilium unless it uses host routing', async () => {
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

  for (const [minor, state, code] of [
    ['28', 'failed', 'kubernetes-too-old'],
    ['29', 'warning', 'no-admission-policies'],
  ] as const)
    test(`reports ${code} for Kubernetes 1.${minor}`, async () => {
      // The only answer of an API server of that release that this item needs.
      const version = { major: '1', minor: `${minor}+`, gitVersion: `v1.${minor}.15-eks-1234567` }
      const authority = await createAuthority('an earlier release')
      const { certPem: cert, keyPem: key } = await authority.issue(['localhost'], ['127.0.0.1'])
      const server = createServer({ cert, key }, ({ url }, response) => {
        response.writeHead(url?.startsWith('/version') ? 200 : 403, { 'content-type': 'application/json' })
        response.end(JSON.stringify(url?.startsWith('/version') ? version : { kind: 'Status', code: 403 }))
      })
      await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
      const address = server.address()
      const url = `https://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
      try {
        const { of } = await items(await door.kubeconfig({ server: url, ca: authority.caPem }))
        assert.deepEqual([of.kubernetes?.state, of.kubernetes?.code], [state, code])
        assert.match(of.kubernetes?.detail ?? '', new RegExp(`^it is v1\\.${minor}\\.15`))
      } finally {
        server.close()
      }
    })

  test('lists what was not checked for a user with few rights, and does not pass', async () => {
    const token = await userWith(sandbox.kube, 'nobody-much', [
      { nonResourceURLs: ['/version'], verbs: ['get'] },
    ])
    const { code, stdout } = await run(['--kubeconfig', await door.kubeconfig({ token }), 'check'])
    assert.equal(code, 2)
    assert.match(stdout, /- nodes +not checked: you may not list nodes/)
    assert.match(stdout, /you may not see whether pod2iam is installed/)
    for (const asked of ['list daemonsets.apps in all namespaces', 'list pods in namespace pod2iam-system'])
      assert.ok(stdout.includes(`\n  ${asked}\n`), asked)
  })
})
