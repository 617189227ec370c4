/** `audit`: which workloads use the metadata service. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import { until } from '../support/until.ts'
import { type Door, openDoor, run, userWith, widest } from './support.ts'

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

  test('is empty, with exit code 0, if no pod has used the metadata service', async () => {
    const { code, stdout, stderr } = await cli('audit')
    assert.deepEqual([code, stderr], [0, ''], stdout)
    assert.match(
      stdout,
      /^No pod has used the metadata service\.\n\n1 of 1 nodes reported what they saw in audit mode\.\n$/,
    )
  })

  test('names the Deployment of a pod that uses the metadata service and what to do, with exit code 1', async () => {
    await cluster.kube.create(deployment('legacy', 'reports', { [ROLE]: 'reports' }))
    await cluster.kube.create(deployment('legacy', 'unknown', {}))
    for (const name of ['reports', 'unknown']) await reach(await podOf(name))
    const deadline = Date.now() + 60_000
    while ((await seen()).length < 2) assert.ok(Date.now() < deadline, 'the guard reports both')
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
    for (const { firstSeen, lastSeen } of await seen())
      assert.ok(Date.parse(firstSeen) <= Date.parse(lastSeen), `${firstSeen}, ${lastSeen}`)
    const { code, stdout } = await cli('audit')
    assert.equal(code, 1)
    assert.match(stdout, /^WORKLOAD +VIA +PACKETS +FIRST SEEN +LAST SEEN\n/)
    assert.match(stdout, /legacy Deployment\/reports +direct +\d+( +(just now|\d+ min ago)){2}\n/)
    assert.match(
      stdout.replace(/\s+/g, ' '),
      /it names reports: kubectl label namespace legacy pod2iam\.dev\/injection=enabled/,
    )
    assert.ok(widest(stdout) <= 80, `a line has ${widest(stdout)} columns`)
  })

  test('says that a pod must be restarted if its namespace has been labelled since', async () => {
    await cluster.kube.patch('namespaces', 'legacy', undefined, {
      metadata: { labels: { 'pod2iam.dev/injection': 'enabled' } },
    })
    const codes = (await seen()).map(({ todo }: { todo: { code: string } }) => todo.code)
    assert.deepEqual(codes.sort(), ['annotate', 'restart'])
  })

  test('keeps an address whose pod is gone, and says so', async () => {
    await cluster.kube.delete('deployments', 'unknown', 'legacy')
    const deadline = Date.now() + 60_000
    for (;;) {
      const gone = (await seen()).find(({ todo }: { todo: { code: string } }) => todo.code === 'address-gone')
      if (gone !== undefined) {
        assert.equal(gone.workload, null)
        break
      }
      assert.ok(Date.now() < deadline, 'its pod is deleted')
    }
  })

  test('names the owner reference of the pod for a user who may not read owners', async () => {
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
  test('says that nothing is recorded there', async () => {
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

describe('audit where guards watch pods on the host network', needsNamespaces(), () => {
  test('names these pods with their node, and status warns if their rules are not reported', async () => {
    const cluster = await createCluster({ firewallArgs: ['--host-network=audit', '--poll-interval=1s'] })
    const door = await openDoor(cluster.api)
    const kubeconfig = await door.kubeconfig()
    const cli = (...args: string[]) => run(['--kubeconfig', kubeconfig, ...args])
    try {
      assert.match((await cli('status')).stdout, /! host-network on [\s\S]*has not\s+reported/)
      const { items } = await cluster.kube.list('pods', { namespace: 'pod2iam-system' })
      const guard = items.map(({ metadata }) => metadata.name).find((name) => name?.includes('node-guard'))
      const lastSeen = new Date().toISOString()
      const pods = [
        { namespace: 'kube-system', name: 'aws-node-x1', allowed: true, packets: 3, lastSeen },
        { namespace: 'legacy', name: 'scraper', allowed: false, packets: 7, lastSeen },
      ]
      const packets = { allowed: 3, others: 7, unknown: 0 }
      const report = { mode: 'audit', verified: true, repairs: 0, packets, pods }
      const file = { version: 1, writtenAt: lastSeen, validSeconds: 600, ...report }
      const write = `fs.writeFileSync('/run/pod2iam/host-network.json', process.argv[1])`
      const argv = [process.execPath, '-e', write, JSON.stringify(file)]
      await cluster.pods.exec(`pod2iam-system/${guard}`, argv, { container: 'firewall' })
      const named = async () => JSON.parse((await cli('audit', '-o', 'json')).stdout).hostNetwork
      await until('both are named', async () => (await named()).length === 2)
      const { code, stdout } = await cli('audit')
      assert.equal(code, 1)
      assert.match(stdout, /kube-system\/aws-node\S* +\S+ +yes +3 /)
      assert.match(stdout, /legacy\/scraper +\S+ +no +7 /)
    } finally {
      await door.close()
      await cluster.close()
    }
  })
})
