/** What happens before and around the promises; an API server without nodes is enough for it. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { KubeConfig } from '@kubernetes/client-node'
import { parseSettings } from '../../common/settings.ts'
import { ApiServer, KubeClient } from '../sandbox/kube/client/client.ts'
import { until } from '../support/until.ts'
import type { ClusterAccess } from './access/access.ts'
import { kubeConfigTransport } from './access/kubeconfig-transport.ts'
import { readKubeconfig } from './access/real.ts'
import { realAws } from './aws/real.ts'
import { cleanUp, runsLeft } from './cleanup.ts'
import { PULL_SECRET, valuesOf } from './context.ts'
import { namespacesOf } from './namespaces.ts'
import { OPTIONS, type Options } from './options.ts'
import { chooseAws } from './preflight.ts'
import { NO_ROLE, prepare, run, survey } from './run.ts'

function optionsOf(...argv: string[]): Options {
  const parsed = parseSettings(OPTIONS, { argv, env: {} })
  assert.ok(parsed.ok)
  return parsed.settings
}

describe('test:cluster', () => {
  const directory = mkdtempSync(join(tmpdir(), 'cluster-'))
  let api: ApiServer
  let access: ClusterAccess

  before(async () => {
    api = await ApiServer.start({ directory })
    // As on a real cluster: through a kubeconfig.
    const config = new KubeConfig()
    config.loadFromFile(await api.kubeconfig())
    access = {
      title: 'an API server',
      kube: new KubeClient({ caPem: '' }, {}, kubeConfigTransport(config)),
      installation: {
        by: 'nobody',
        render: async () => [],
        apply: () => assert.fail('nothing is to be installed'),
        rollback: () => assert.fail('nothing is to be rolled back'),
        uninstall: () => assert.fail('nothing is to be uninstalled'),
      },
      nodeOfImages: 'node',
      pollMs: 20,
      exec: () => assert.fail('nothing is to be run'),
      close: async () => undefined,
    }
  })
  after(async () => {
    await api?.stop()
    rmSync(directory, { recursive: true })
  })

  const start = (options: Options, signal = new AbortController().signal, progress = () => undefined) =>
    run({ access, options, signal, progress })

  test('removes what it made when it is interrupted', async () => {
    const interrupt = new AbortController()
    const options = optionsOf('--node-image=any', '--aws=stand-in')
    const running = run({ access, options, signal: interrupt.signal, progress: () => undefined })
    // The stand-in's pods never start, because there is no node.
    await until('a DaemonSet', async () => (await api.admin.list('daemonsets')).items.length > 0)
    assert.equal((await runsLeft(access)).length, 1)
    interrupt.abort()
    assert.deepEqual(await running, { verdicts: [], left: [] })
    assert.deepEqual(await runsLeft(access), [])
    assert.deepEqual((await api.admin.list('daemonsets')).items, [])
  })

  test('does not delete a namespace that has the label but no name of the test’s', async () => {
    const labels = { 'pod2iam.dev/cluster-test': 'copied' }
    for (const name of ['payments', 'pod2iam-test-copied-shop'])
      await api.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } })
    const world = {
      access,
      options: optionsOf('--installed'),
      progress: () => undefined,
      run: { id: 'copied' },
    }
    const problems = await cleanUp({ ...world, aws: realAws(NO_ROLE, '') })
    assert.equal(problems.length, 1)
    assert.match(problems[0] ?? '', /^namespaces: payments stay, since the test makes none of these names/)
    assert.equal(await api.admin.find('namespaces', 'pod2iam-test-copied-shop'), undefined)
    await api.admin.delete('namespaces', 'payments')
  })

  test('reports a failure to prepare after it has removed everything', async () => {
    const options = optionsOf('--node-image=any', '--aws=stand-in', '--wait-seconds=5')
    await assert.rejects(start({ ...options, waitSeconds: 0.2 }), /stand-in on every node: not within/)
    assert.deepEqual(await runsLeft(access), [])
  })

  test('gives every namespace of the run a copy of the pull Secret', async () => {
    const data = { '.dockerconfigjson': Buffer.from('{"auths":{}}').toString('base64') }
    const secret = {
      metadata: { name: 'registry', namespace: 'default' },
      type: 'kubernetes.io/dockerconfigjson',
      data,
    }
    await api.admin.create({ apiVersion: 'v1', kind: 'Secret', ...secret })
    const role = '--role=arn:aws:iam::111111111111:role/orders'
    const options = optionsOf('--node-image=any', '--aws=stand-in', role, '--pull-secret=default/registry')
    const signal = new AbortController().signal
    const ground = await survey({ access, options, signal, progress: () => undefined })
    try {
      // The stand-in's pods would never start.
      const context = await prepare({ ...ground, choice: 'real' })
      for (const { metadata } of namespacesOf(context)) {
        const copy = await api.admin.get('secrets', PULL_SECRET, metadata.name)
        assert.deepEqual(copy.data, data)
        const account = await api.admin.get('serviceaccounts', 'default', metadata.name)
        assert.deepEqual(account.imagePullSecrets, [{ name: PULL_SECRET }])
      }
      assert.deepEqual(valuesOf(context).image.pullSecrets, [PULL_SECRET])
    } finally {
      assert.deepEqual(await cleanUp(ground), [])
    }
  })

  test('names the setting when there is no kubeconfig, or none at its path', async () => {
    const HOME = mkdtempSync(join(directory, 'home-'))
    const missing = join(HOME, 'missing')
    const none = { kubeconfig: undefined, context: undefined }
    assert.throws(() => readKubeconfig(none, { HOME }), /there is no kubeconfig: pass --kubeconfig, or set/)
    assert.throws(
      () => readKubeconfig(none, { HOME, KUBECONFIG: missing }),
      /^Error: KUBECONFIG names .*missing/,
    )
    assert.throws(
      () => readKubeconfig({ ...none, kubeconfig: missing }, { HOME }),
      /^Error: --kubeconfig names .*missing, which is not there/,
    )
    const kubeconfig = await api.kubeconfig()
    assert.throws(
      () => readKubeconfig({ kubeconfig, context: 'other' }, { HOME }),
      /--context names other, which --kubeconfig does not have/,
    )
    assert.equal(
      typeof readKubeconfig({ ...none, kubeconfig }, { HOME }).getCurrentCluster()?.server,
      'string',
    )
  })

  test('refuses a cluster older than 1.29', async () => {
    const old = {
      ...access,
      kube: await answering('/version', { major: '1', minor: '28+', gitVersion: 'v1.28.9' }),
    }
    const running = run({
      access: old,
      options: optionsOf(),
      signal: new AbortController().signal,
      progress: () => undefined,
    })
    await assert.rejects(running, /this is Kubernetes v1\.28\.9; pod2iam needs 1\.29 or newer/)
  })

  test('refuses a cluster that has pod2iam, unless that installation is to be tested', async () => {
    await api.admin.create({
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'MutatingWebhookConfiguration',
      metadata: { name: 'pod2iam-injector' },
      webhooks: [],
    })
    await assert.rejects(start(optionsOf()), /is installed in this cluster already\. Pass --installed/)
    await assert.rejects(start(optionsOf('--installed')), /--installed needs --aws=real/)
    await api.admin.delete('mutatingwebhookconfigurations', 'pod2iam-injector')
    await assert.rejects(start(optionsOf('--installed')), /is not installed in this cluster/)
  })

  test('does not take over a namespace that exists', async () => {
    await assert.rejects(start(optionsOf('--namespace=default')), /the namespace default exists already/)
  })

  test('chooses real AWS on EC2, and then needs a role', () => {
    const ec2 = { version: '', onEc2: true, onKind: false, region: 'eu-west-1' }
    assert.equal(chooseAws(optionsOf('--role=arn:aws:iam::111111111111:role/a'), ec2), 'real')
    assert.equal(chooseAws(optionsOf('--aws=stand-in'), ec2), 'stand-in')
    assert.equal(chooseAws(optionsOf(), { ...ec2, onEc2: false }), 'stand-in')
    assert.throws(() => chooseAws(optionsOf(), ec2), /pass --role ARN/)
  })

  /** A client that answers one path with this, and nothing else. */
  async function answering(path: string, body: unknown): Promise<KubeClient> {
    const transport = {
      send: async (call: { path: string }) => {
        assert.equal(call.path, path)
        return { status: 200, headers: {}, body: JSON.stringify(body) }
      },
      stream: () => assert.fail('no watch'),
      close: () => undefined,
    }
    return new KubeClient({ caPem: '' }, {}, transport)
  }
})
