/** `audit`: who reaches for the metadata service, and what their namespaces need. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { createLoopbackSandbox, isReady, type LoopbackSandbox, needsNamespaces } from '../sandbox/index.ts'
import { type Door, openDoor, run, runCommand, userWith, widest } from './support.ts'

const ROLE = 'iam.amazonaws.com/role'

const byText = (one: unknown, other: unknown) => JSON.stringify(one).localeCompare(JSON.stringify(other))

const deployment = (namespace: string, name: string, annotations: object, spec: object = {}) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name }, annotations },
      spec: { containers: [{ name: 'app', image: IDLE_IMAGE }], ...spec },
    },
  },
})

describe('audit', needsNamespaces(), () => {
  let cluster: Cluster
  let door: Door
  let kubeconfig = ''

  before(async () => {
    cluster = await createCluster({ firewallArgs: ['--mode=audit', '--poll-interval=1s'] })
    door = await openDoor(cluster.api)
    kubeconfig = await door.kubeconfig()
    await cluster.namespace('legacy', { label: null })
  })
  after(async () => {
    await door?.close()
    await cluster?.close()
  })

  const cli = (...args: string[]) => run(['--kubeconfig', kubeconfig, ...args])
  const seen = async () => JSON.parse((await cli('audit', '-o', 'json')).stdout).seen

  async function podOf(name: string): Promise<string> {
    const deadline = Date.now() + 60_000
    for (;;) {
      const { items } = await cluster.kube.list('pods', { namespace: 'legacy', labelSelector: `app=${name}` })
      const pod = items[0]?.metadata.name
      if (pod !== undefined) {
        await cluster.pods.waitFor(`legacy/${pod}`, isReady)
        return `legacy/${pod}`
      }
      assert.ok(Date.now() < deadline, `no pod of ${name}`)
    }
  }

  const reach = (pod: string) =>
    cluster.exec(cluster.pods.network(pod), ['curl', '-s', '-m2', 'http://169.254.169.254/latest/meta-data/'])

  test('with nobody who asked it is empty: exit code 0', async () => {
    const { code, stdout, stderr } = await cli('audit')
    assert.deepEqual([code, stderr], [0, ''], stdout)
    assert.match(stdout, /^No pod has reached for the metadata service\.\n\n1 nodes in audit mode\.\n$/)
  })

  test('a pod that asks is told by its Deployment, with what to do; exit code 1', async () => {
    await cluster.kube.create(deployment('legacy', 'reports', { [ROLE]: 'reports' }))
    await cluster.kube.create(deployment('legacy', 'unknown', {}))
    for (const name of ['reports', 'unknown']) await reach(await podOf(name))
    const deadline = Date.now() + 60_000
    while ((await seen()).length < 2) assert.ok(Date.now() < deadline, 'the guard tells of both')
    const shown = (await seen()).map((one: { workload: object; via: string; todo: { code: string } }) => [
      one.workload,
      one.via,
      one.todo.code,
    ])
    const owner = (name: string) => ({ namespace: 'legacy', kind: 'Deployment', name })
    assert.deepEqual(shown.toSorted(byText), [
      [owner('reports'), 'direct', 'label'],
      [owner('unknown'), 'direct', 'annotate'],
    ])
    const { code, stdout } = await cli('audit')
    assert.equal(code, 1)
    assert.match(stdout, /legacy Deployment\/reports +direct +\d+ +(just now|\d+ min ago)/)
    assert.match(
      stdout.replace(/\s+/g, ' '),
      /it names reports: kubectl label namespace legacy pod2iam\.dev\/injection=enabled/,
    )
    assert.ok(widest(stdout) <= 80, `a line has ${widest(stdout)} columns`)
  })

  test('one whose namespace was labelled meanwhile has to be restarted', async () => {
    await cluster.kube.patch('namespaces', 'legacy', undefined, {
      metadata: { labels: { 'pod2iam.dev/injection': 'enabled' } },
    })
    const codes = (await seen()).map(({ todo }: { todo: { code: string } }) => todo.code)
    assert.deepEqual(codes.sort(), ['annotate', 'restart'])
  })

  test('an address whose pod is gone stays, as that', async () => {
    await cluster.kube.delete('deployments', 'unknown', 'legacy')
    const deadline = Date.now() + 60_000
    for (;;) {
      const gone = (await seen()).find(({ todo }: { todo: { code: string } }) => todo.code === 'address-gone')
      if (gone !== undefined) {
        assert.equal(gone.workload, null)
        break
      }
      assert.ok(Date.now() < deadline, 'its pod goes')
    }
  })

  test('who may not look owners up is shown what stands in the pod', async () => {
    const token = await userWith(cluster.kube, 'auditor', [
      { apiGroups: [''], resources: ['pods', 'namespaces', 'nodes'], verbs: ['get', 'list'] },
      { apiGroups: [''], resources: ['pods/exec'], verbs: ['get', 'create'] },
    ])
    const { code, stdout } = await run(['--kubeconfig', await door.kubeconfig({ token }), 'audit'])
    assert.equal(code, 1)
    assert.match(stdout.replace(/\s+/g, ' '), /legacy ReplicaSet\/reports-/)
    assert.match(stdout, /get replicasets\.apps in namespace legacy/)
  })
})

describe('audit where the guards enforce', needsNamespaces(), () => {
  test('says that nothing is told apart there', async () => {
    const cluster = await createCluster()
    const door = await openDoor(cluster.api)
    try {
      const { code, stderr } = await run(['--kubeconfig', await door.kubeconfig(), 'audit'])
      assert.equal(code, 2)
      assert.match(stderr, /\(not-auditing\)\n→ set guard\.mode=audit/)
    } finally {
      await door.close()
      await cluster.close()
    }
  })
})

describe('audit --suggest', () => {
  let sandbox: LoopbackSandbox
  let door: Door
  let kubeconfig = ''

  const namespace = (
    name: string,
    annotations: Record<string, string> = {},
    labels: Record<string, string> = {},
  ) => sandbox.kube.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, annotations, labels } })
  const create = (object: Parameters<typeof sandbox.kube.create>[0]) => sandbox.kube.create(object)

  before(async () => {
    sandbox = await createLoopbackSandbox()
    door = await openDoor(sandbox.api)
    kubeconfig = await door.kubeconfig()
    await namespace('bare')
    await namespace('listed', { 'iam.amazonaws.com/allowed-roles': '["web-*"]' })
    await namespace('kiams', { 'iam.amazonaws.com/permitted': '.*role/batch-.*' })
    await namespace(
      'ready',
      { 'iam.amazonaws.com/allowed-roles': '["app"]' },
      { 'pod2iam.dev/injection': 'enabled' },
    )
    await namespace('strict', {}, { 'pod-security.kubernetes.io/enforce': 'restricted' })
    await create(deployment('bare', 'one', { [ROLE]: 'reports' }))
    await create(deployment('bare', 'two', { [ROLE]: 'reports' }))
    await create(deployment('bare', 'host', { [ROLE]: 'reports' }, { hostNetwork: true }))
    await create(deployment('listed', 'web', { [ROLE]: 'web-front' }))
    await create(deployment('listed', 'other', { [ROLE]: "it's" }))
    await create(deployment('listed', 'more', { [ROLE]: '/path/more' }))
    await create(deployment('kiams', 'batch', { [ROLE]: 'batch-run' }))
    await create(deployment('ready', 'app', { [ROLE]: 'app' }))
    await create(deployment('kube-system', 'agent', { [ROLE]: 'agent' }))
    await create(deployment('strict', 'app', { [ROLE]: 'arn:aws:iam::222222222222:role/app' }))
    await create({
      apiVersion: 'batch/v1',
      kind: 'CronJob',
      metadata: { name: 'nightly', namespace: 'bare' },
      spec: {
        schedule: '0 0 * * *',
        jobTemplate: {
          spec: {
            template: {
              metadata: { annotations: { [ROLE]: 'nightly' } },
              spec: { restartPolicy: 'Never', containers: [{ name: 'app', image: 'app' }] },
            },
          },
        },
      },
    })
  })
  after(async () => {
    await door?.close()
    await sandbox?.close()
  })

  const cli = (...args: string[]) => run(['--kubeconfig', kubeconfig, 'audit', '--suggest', ...args])
  const LABEL = 'pod2iam.dev/injection=enabled'

  test('every namespace’s roles, what it allows today, and the commands that are missing', async () => {
    const { code, stdout } = await cli('-o', 'json', '--base-role-arn', 'arn:aws:iam::111111111111:role/')
    assert.equal(code, 1)
    const { namespaces } = JSON.parse(stdout)
    const commands = Object.fromEntries(
      namespaces.map((one: { namespace: string; commands: string[] }) => [one.namespace, one.commands]),
    )
    assert.deepEqual(commands, {
      bare: [
        `kubectl annotate --overwrite namespace bare 'iam.amazonaws.com/allowed-roles=["reports","nightly"]'`,
        `kubectl label namespace bare ${LABEL}`,
      ],
      kiams: [`kubectl label namespace kiams ${LABEL}`],
      'kube-system': [
        `kubectl annotate --overwrite namespace kube-system 'iam.amazonaws.com/allowed-roles=["agent"]'`,
        `kubectl label namespace kube-system ${LABEL}`,
      ],
      listed: [
        `kubectl annotate --overwrite namespace listed 'iam.amazonaws.com/allowed-roles=["web-*","path/more"]'`,
        `kubectl label namespace listed ${LABEL}`,
      ],
      ready: [],
      strict: [
        `kubectl annotate --overwrite namespace strict 'iam.amazonaws.com/allowed-roles=["arn:aws:iam::222222222222:role/app"]'`,
        `kubectl label namespace strict ${LABEL}`,
      ],
    })
    const notes = namespaces.flatMap((one: { notes: string[] }) => one.notes).join('\n')
    assert.match(notes, /on the host network.*: Deployment\/host/)
    assert.match(notes, /injector\.allowKubeSystem=true/)
    assert.match(notes, /PodSecurity restricted, so its pods get mode env/)
    assert.match(notes, /Deployment\/other cannot work with role "it's"/)
  })

  test('as text: a table within 80 columns, and commands that a shell takes as they are', async () => {
    const { stdout } = await cli('--base-role-arn', 'arn:aws:iam::111111111111:role/')
    const [head = ''] = stdout.split('So that all of it works:')
    assert.ok(widest(head) <= 80)
    const commands = stdout.match(/^kubectl .*$/gm) ?? []
    assert.equal(commands.length, 9)
    const script = `kubectl() { printf '%s\\n' "$4" >/dev/null; for word; do printf '<%s>' "$word"; done; echo; }\n${commands.join('\n')}`
    const { stdout: words } = await runCommand(['/bin/sh', '-c', script])
    assert.match(
      words,
      /<annotate><--overwrite><namespace><bare><iam\.amazonaws\.com\/allowed-roles=\["reports","nightly"\]>/,
    )
  })

  test('without a base role ARN, what a name means under an ARN’s pattern is not known', async () => {
    const { namespaces } = JSON.parse((await cli('-o', 'json')).stdout)
    const kiams = namespaces.find((one: { namespace: string }) => one.namespace === 'kiams')
    assert.deepEqual(
      kiams.roles.map(({ allowed }: { allowed: boolean | null }) => allowed),
      [true],
    )
  })

  test('what was suggested, done, leaves nothing to suggest but what no command does', async () => {
    const run = JSON.parse(
      (await cli('-o', 'json', '--base-role-arn', 'arn:aws:iam::111111111111:role/')).stdout,
    )
    for (const { namespace: name, allowedRoles, roles } of run.namespaces) {
      if (roles.length === 0) continue
      await sandbox.kube.patch('namespaces', name, undefined, {
        metadata: {
          labels: { 'pod2iam.dev/injection': 'enabled' },
          ...(allowedRoles === null
            ? {}
            : { annotations: { 'iam.amazonaws.com/allowed-roles': JSON.stringify(allowedRoles) } }),
        },
      })
    }
    await sandbox.kube.delete('deployments', 'other', 'listed')
    const after = JSON.parse(
      (await cli('-o', 'json', '--base-role-arn', 'arn:aws:iam::111111111111:role/')).stdout,
    )
    assert.deepEqual(
      after.namespaces.flatMap(({ commands }: { commands: string[] }) => commands),
      [],
    )
  })

  test('a key of one’s own', async () => {
    await create(deployment('bare', 'own', { 'example.com/role': 'own' }))
    const { namespaces } = JSON.parse((await cli('-o', 'json', '--role-key', 'example.com/role')).stdout)
    assert.deepEqual(
      namespaces.map((one: { namespace: string }) => one.namespace),
      ['bare'],
    )
  })
})
