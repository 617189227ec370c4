/** The installed chart: it grants exactly the rights that are used, and `helm test` proves what it claims. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { TOKEN_AUDIENCE } from '../../common/addresses.ts'
import { get, ROLE } from '../e2e/pods.ts'
import { type Cluster, createCluster, IDLE_IMAGE, localPath } from '../sandbox/cluster.ts'
import { container, containerStatus, hasPhase, isReady, needsNamespaces } from '../sandbox/index.ts'
import {
  components,
  helmTests,
  INJECTOR,
  type InstalledObject,
  NODE_GUARD,
  SYSTEM_NAMESPACE,
} from '../sandbox/install.ts'
import { until } from '../support/until.ts'

const BROKER = 'http://169.254.170.24:9171/v1/credentials'
const TOKEN = '/var/run/secrets/pod2iam/token'
const TAINT = 'pod2iam.dev/guard-not-ready'
const LABEL = 'pod2iam.dev/injection'

type Rule = {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

describe('the installed chart:', needsNamespaces(), () => {
  let cluster: Cluster

  before(async () => {
    cluster = await createCluster({ injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'] })
    await Promise.all([cluster.role('orders'), cluster.role('helm-test')])
    await cluster.namespace('shop', { allowed: ['orders'] })
    // The operator's own namespace for `helm test`, which sets/sandbox.yaml names.
    await cluster.namespace('helm-tests', { allowed: ['helm-test'] })
  })
  after(async () => {
    await cluster?.close()
  })

  describe('helm test', () => {
    const objects = helmTests({ localPath })
    const pods = objects.filter(({ kind }) => kind === 'Pod')

    before(async () => {
      for (const object of objects.filter(({ kind }) => kind !== 'Pod')) await cluster.kube.apply(object)
    })

    for (const [name, sentence] of [
      ['annotated', /^an annotated pod has credentials of helm-test until 20/],
      ['unannotated', /^169\.254\.169\.254: ECONNREFUSED/],
      ['forbidden', /^refused: .*may not use role "arn:aws:iam::000000000000:role\/pod2iam-test-forbidden"/],
    ] as const)
      test(`passes with the ${name} pod`, async () => {
        const pod = pods.find(({ metadata }) => metadata.name === `pod2iam-test-${name}`) ?? assert.fail()
        await cluster.kube.apply(pod)
        const key = `${pod.metadata.namespace}/${pod.metadata.name}`
        await cluster.pods.waitFor(key, hasPhase('Succeeded'))
        assert.match(cluster.pods.logs(key, 'test'), sentence)
      })

    test('says what to do where its namespace is not opted in', async () => {
      await cluster.namespace('closed', { label: null, allowed: ['helm-test'] })
      const moved: InstalledObject[] = JSON.parse(JSON.stringify(objects).replaceAll('helm-tests', 'closed'))
      for (const object of moved.filter(({ kind }) => kind !== 'Pod')) await cluster.kube.apply(object)
      for (const [name, sentence] of [
        ['annotated', /^no sidecar answers this pod \(ECONNREFUSED\): is namespace closed labelled pod2iam/],
        ['forbidden', /^a pod with a forbidden role was admitted: is namespace closed labelled pod2iam/],
      ] as const) {
        const isIt = ({ kind, metadata }: InstalledObject) =>
          kind === 'Pod' && metadata.name === `pod2iam-test-${name}`
        const pod = moved.find(isIt) ?? assert.fail()
        pod.metadata.name = `closed-${name}`
        await cluster.kube.apply(pod)
        const key = `${pod.metadata.namespace}/${pod.metadata.name}`
        await cluster.pods.waitFor(key, hasPhase('Failed'))
        assert.match(cluster.pods.logs(key, 'test'), sentence)
      }
    })

    test('fails while the guard does not block', async () => {
      const pod = structuredClone(
        objects.find(({ metadata }) => metadata.name === 'pod2iam-test-unannotated'),
      )
      if (pod === undefined) return assert.fail()
      pod.metadata.name = 'open'
      const guard = await cluster.guard()
      cluster.pods.kill(guard, 'firewall', 'SIGSTOP')
      try {
        await cluster.exec('node', ['nft', 'delete', 'table', 'inet', 'pod2iam_guard'])
        await cluster.kube.apply(pod)
        await cluster.pods.waitFor(`${pod.metadata.namespace}/open`, hasPhase('Failed'))
      } finally {
        cluster.pods.kill(guard, 'firewall', 'SIGCONT')
      }
      await cluster.pods.waitFor(guard, isReady)
    })
  })

  describe('the rights', () => {
    before(async () => {
      await cluster.pods.waitFor(await cluster.guard(), isReady)
      await podOfNoNode()
      // This restarts the broker.
      await refusalsInARow()
      await Promise.all([podWithoutSidecar(), taintedNode()])
    })

    for (const name of [INJECTOR, NODE_GUARD])
      test(`of ${name} are those that it has used`, async () => {
        const user = `system:serviceaccount:${SYSTEM_NAMESPACE}:${name}`
        const calls = (await cluster.api.calls()).filter((call) => call.user === user && call.resource !== '')
        const denied = calls.filter(({ allowed }) => !allowed)
        assert.deepEqual(denied, [])
        const used = new Set(calls.map(({ verb, group, resource }) => `${verb} ${resource}.${group}`))
        assert.deepEqual([...used].sort(), granted(name))
      })

    test('of the firewall are none, since no token is mounted into it', async () => {
      const directory = '/var/run/secrets/kubernetes.io'
      const { code } = await cluster.pods.exec(await cluster.guard(), ['ls', directory], {
        container: 'firewall',
      })
      assert.notEqual(code, 0)
    })
  })

  /** Every `verb resource.group` in the roles that are bound to a service account of this name. */
  function granted(name: string): string[] {
    const roles = components({ localPath }).filter(
      ({ kind, metadata }) => (kind === 'ClusterRole' || kind === 'Role') && metadata.name === name,
    ) as (InstalledObject & { rules: readonly Rule[] })[]
    const rights = roles
      .flatMap(({ rules }) => rules)
      .flatMap(({ apiGroups, resources, verbs }) =>
        apiGroups.flatMap((group) =>
          resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}.${group}`)),
        ),
      )
    return [...new Set(rights)].sort()
  }

  /** Lets the broker write an Event for a refusal, its successor raise the count of that Event, and a removed label be looked up live. */
  async function refusalsInARow(): Promise<void> {
    await cluster.role('brief')
    await cluster.namespace('brief', { allowed: ['brief'] })
    const pod = await cluster.pod('brief/app', { annotations: { [ROLE]: 'brief' } })
    await cluster.pods.waitFor(pod, isReady)
    const { stdout } = await cluster.pods.exec(pod, ['cat', TOKEN], { container: 'pod2iam-sidecar' })
    const refused = (code: string) =>
      until(async () => {
        const { body } = await get(cluster, pod, BROKER, `-HAuthorization: Bearer ${stdout}`)
        return body.includes(code)
      })
    const written = (verb: string) =>
      until(async () =>
        (await cluster.api.calls()).some(
          (call) => call.verb === verb && call.resource === 'events' && call.namespace === 'brief',
        ),
      )
    await cluster.kube.patch('namespaces', 'brief', undefined, {
      metadata: { annotations: { 'iam.amazonaws.com/allowed-roles': '[]' } },
    })
    await refused('role-not-allowed')
    await written('create')
    await restartBroker()
    await refused('role-not-allowed')
    await written('patch')
    await cluster.kube.patch('namespaces', 'brief', undefined, { metadata: { labels: { [LABEL]: null } } })
    await refused('namespace-not-enabled')
  }

  /** A pod with a valid token that the watch over this node's pods never reports, so that it is looked up live. */
  async function podOfNoNode(): Promise<void> {
    await cluster.pod('shop/pending', { spec: { nodeSelector: { 'example.com/no': 'node' } } })
    const { metadata } = await cluster.kube.get<InstalledObject & { metadata: { uid: string } }>(
      'pods',
      'pending',
      'shop',
    )
    const { token } = await cluster.kube.createToken('shop', 'default', {
      audiences: [TOKEN_AUDIENCE],
      pod: { name: 'pending', uid: metadata.uid },
    })
    const pod = await cluster.pod('shop/asking', { annotations: { [ROLE]: 'orders' } })
    await cluster.pods.waitFor(pod, isReady)
    const { body } = await get(cluster, pod, BROKER, `-HAuthorization: Bearer ${token}`)
    assert.match(body, /pod shop\/pending does not run on node/)
  }

  async function restartBroker(): Promise<void> {
    const guard = await cluster.guard()
    const before = containerStatus(await cluster.pods.get(guard), 'broker')?.restartCount ?? 0
    assert.ok(cluster.pods.kill(guard, 'broker'))
    await cluster.pods.waitFor(
      guard,
      container('broker', ({ restartCount, state }) => restartCount > before && 'running' in state),
    )
  }

  /** A pod that is older than the opt-in of its namespace. */
  async function podWithoutSidecar(): Promise<void> {
    await cluster.namespace('late', { label: null, allowed: ['orders'] })
    await cluster.pod('late/app', {
      annotations: { [ROLE]: 'orders' },
      containers: [{ name: 'app', image: IDLE_IMAGE }],
    })
    await cluster.kube.patch('namespaces', 'late', undefined, {
      metadata: { labels: { [LABEL]: 'enabled' } },
    })
    await until(async () => {
      const { items } = await cluster.kube.list<InstalledObject & { reason?: string }>(
        'events.events.k8s.io',
        {
          namespace: 'late',
        },
      )
      return items.some(({ reason }) => reason === 'InjectionMissing')
    })
  }

  /** A node with the startup taint, whose guard is ready. */
  async function taintedNode(): Promise<void> {
    const name = cluster.node.name
    await cluster.kube.patch('nodes', name, undefined, {
      spec: { taints: [{ key: TAINT, effect: 'NoSchedule' }] },
    })
    await until(async () => {
      const { items } = await cluster.kube.list<InstalledObject & { spec?: { taints?: { key: string }[] } }>(
        'nodes',
      )
      return items.every(({ spec }) => !spec?.taints?.some(({ key }) => key === TAINT))
    })
  }
})
