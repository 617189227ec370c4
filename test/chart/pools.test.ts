/** Node guards with their own values for each pool: every node has one guard, and all of them are found by whatever selects guards. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseSettings } from '../../common/settings.ts'
import { BROKER_SETTINGS } from '../../node-guard/broker/settings.ts'
import { GUARD_SETTINGS } from '../../node-guard/firewall/guard/settings.ts'
import { credentials, ROLE } from '../e2e/pods.ts'
import { createCluster } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import type { KubeObject } from '../sandbox/kube/client/client.ts'
import { namespace, testServer } from '../sandbox/kube/client/test-server.ts'
import { until } from '../support/until.ts'
import { RULE_FILE, rulesOf } from './alerts.ts'
import {
  CHART,
  find,
  helm,
  needsHelm,
  objectsOf,
  RELEASE_NAMESPACE,
  type Rendered,
  render,
  template,
} from './helm.ts'

type Labels = Readonly<Record<string, string>>
type Affinity = {
  readonly nodeAffinity: {
    readonly requiredDuringSchedulingIgnoredDuringExecution: { readonly nodeSelectorTerms: readonly object[] }
  }
}
type Container = { readonly name: string; readonly args: readonly string[]; readonly resources: object }
type DaemonSet = Rendered & {
  readonly spec: {
    readonly selector: { readonly matchLabels: Labels }
    readonly updateStrategy: object
    readonly template: {
      readonly metadata: { readonly labels: Labels }
      readonly spec: {
        readonly containers: readonly Container[]
        readonly initContainers?: readonly Container[]
        readonly nodeSelector: Labels
        readonly tolerations: readonly object[]
        readonly serviceAccountName: string
      }
    }
  }
}

const daemonSets = (text: string) => objectsOf(text).filter(({ kind }) => kind === 'DaemonSet') as DaemonSet[]
const named = (text: string, name: string) => find(objectsOf(text), 'DaemonSet', name) as DaemonSet
const labelsOf = ({ spec }: DaemonSet) => spec.template.metadata.labels
const container = ({ spec }: DaemonSet, name: string) =>
  [...(spec.template.spec.initContainers ?? []), ...spec.template.spec.containers].find(
    (one) => one.name === name,
  ) ?? assert.fail(`no container ${name}`)
const takes = (selector: Labels, labels: Labels) =>
  Object.entries(selector).every(([key, value]) => labels[key] === value)

describe('guard.pools', needsHelm, () => {
  const text = () => template('pools')

  test('create one DaemonSet each, besides the one for all other nodes', () => {
    assert.deepEqual(
      daemonSets(text()).map(({ metadata }) => metadata.name),
      ['pod2iam-node-guard', 'pod2iam-node-guard-gpu', 'pod2iam-node-guard-edge'],
    )
    for (const { spec } of daemonSets(text()))
      assert.equal(spec.template.spec.serviceAccountName, 'pod2iam-node-guard')
  })

  test('change only the affinity of the DaemonSet for the other nodes', () => {
    const withoutAffinity = (one: DaemonSet) => {
      const { affinity: _, ...rest } = one.spec.template.spec as { affinity?: object }
      return { ...one, spec: { ...one.spec, template: { ...one.spec.template, spec: rest } } }
    }
    assert.deepEqual(
      withoutAffinity(named(text(), 'pod2iam-node-guard')),
      withoutAffinity(named(template('default'), 'pod2iam-node-guard')),
    )
  })

  test('replace the general values that they set, and keep the others', () => {
    const gpu = named(text(), 'pod2iam-node-guard-gpu')
    const firewall = parseSettings(GUARD_SETTINGS, {
      argv: container(gpu, 'firewall').args.slice(1),
      env: {},
    })
    const env = { POD2IAM_NODE_NAME: 'n' }
    const broker = parseSettings(BROKER_SETTINGS, { argv: container(gpu, 'broker').args, env })
    assert.ok(firewall.ok && broker.ok)
    assert.equal(firewall.settings.backend, 'iptables')
    assert.equal(firewall.settings.mode, 'enforce')
    assert.equal(broker.settings.stsQps, 50)
    assert.equal(broker.settings.stsConcurrency, 10)
    assert.deepEqual(container(gpu, 'firewall').resources, {
      limits: { memory: '128Mi' },
      requests: { cpu: '10m', memory: '24Mi' },
    })
    assert.equal(labelsOf(gpu).tier, 'gpu')
    const edge = named(text(), 'pod2iam-node-guard-edge')
    assert.deepEqual(edge.spec.template.spec.nodeSelector, {
      'kubernetes.io/arch': 'arm64',
      'kubernetes.io/os': 'linux',
    })
    assert.match(container(edge, 'broker').args.join(' '), /--region=eu-west-1/)
    assert.doesNotMatch(container(gpu, 'broker').args.join(' '), /--region/)
  })

  test('can disable what is generally enabled, and enable what is disabled', () => {
    const values = {
      name: 'a',
      nodes: { label: 'pool', values: ['a'] },
      guard: { prePullSidecarImage: false, ownedTable: true, extraArgs: [], tolerations: [] },
      broker: { requireFirewall: false, region: '', metadataAllow: [] },
    }
    const all = [
      '--set',
      'broker.region=eu-west-1',
      '--set',
      'broker.metadataAllow={spot/}',
      '--set',
      'guard.extraArgs={--x=y}',
    ]
    const rendered = render('default', ...all, '--set-json', `guard.pools=${JSON.stringify([values])}`)
    const one = named(rendered, 'pod2iam-node-guard-a')
    assert.equal(one.spec.template.spec.initContainers?.length, 1)
    assert.equal(one.spec.template.spec.tolerations, undefined)
    const args = [...container(one, 'firewall').args, ...container(one, 'broker').args].join(' ')
    assert.match(args, /--owned-table=true.*--require-firewall=false/)
    assert.doesNotMatch(args, /--region|--metadata-allow|--x=y/)
  })

  test('do not inherit the general node selector and affinity', () => {
    const values = [{ name: 'a', nodes: { label: 'pool', values: ['a'] } }]
    const affinity = {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'x', operator: 'Exists' }] },
            { matchExpressions: [{ key: 'y', operator: 'Exists' }] },
          ],
        },
      },
    }
    const rendered = render(
      'default',
      '--set-json',
      `guard.affinity=${JSON.stringify(affinity)}`,
      '--set',
      'guard.nodeSelector.role=web',
      '--set-json',
      `guard.pools=${JSON.stringify(values)}`,
    )
    const terms = (name: string) => {
      const { affinity } = named(rendered, name).spec.template.spec as unknown as { affinity: Affinity }
      return affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
    }
    const notA = { key: 'pool', operator: 'NotIn', values: ['a'] }
    // Terms are alternatives, so each one must exclude the pool.
    assert.deepEqual(terms('pod2iam-node-guard'), [
      { matchExpressions: [{ key: 'x', operator: 'Exists' }, notA] },
      { matchExpressions: [{ key: 'y', operator: 'Exists' }, notA] },
    ])
    assert.deepEqual(terms('pod2iam-node-guard-a'), [
      {
        matchExpressions: [
          { key: 'eks.amazonaws.com/compute-type', operator: 'NotIn', values: ['fargate', 'hybrid'] },
          { key: 'pool', operator: 'In', values: ['a'] },
        ],
      },
    ])
    assert.deepEqual(named(rendered, 'pod2iam-node-guard-a').spec.template.spec.nodeSelector, {
      'kubernetes.io/os': 'linux',
    })
  })

  test('have pods that no other DaemonSet selects', () => {
    const all = daemonSets(text())
    for (const one of all)
      for (const other of all)
        assert.equal(takes(one.spec.selector.matchLabels, labelsOf(other)), one === other)
  })

  test('are selected by the startup taint, by Prometheus, by the alerts, and by the commands in the docs', () => {
    const rendered = render('pools', '--set', 'injector.startupTaint=pod2iam.dev/guard-not-ready')
    const [, flag = ''] = /--node-guard-selector=(\S+)/.exec(rendered) ?? []
    const ofTaint = Object.fromEntries(flag.split(',').map((part) => part.split('=')))
    const monitor = find(objectsOf(rendered), 'PodMonitor') as Rendered & {
      spec: {
        selector: { matchLabels: Labels; matchExpressions: readonly { key: string; values: string[] }[] }
      }
    }
    const { matchLabels, matchExpressions } = monitor.spec.selector
    const { expr = '' } = rulesOf(RULE_FILE).find(({ alert }) => alert === 'Pod2iamGuardNotReady') ?? {}
    const [, names = ''] = /daemonset=~"([^"]+)"/.exec(expr) ?? []
    for (const one of daemonSets(rendered)) {
      const labels = labelsOf(one)
      assert.ok(takes(ofTaint, labels), flag)
      assert.ok(takes(matchLabels, labels))
      assert.ok(matchExpressions.every(({ key, values }) => values.includes(labels[key] ?? '')))
      assert.match(one.metadata.name, new RegExp(`^(${names})$`))
      assert.equal(labels['app.kubernetes.io/component'], 'node-guard')
    }
  })

  test('are all removed in mode remove, and the notes wait for each of them', () => {
    const rendered = render('pools', '--set', 'guard.mode=remove')
    assert.equal(daemonSets(rendered).length, 3)
    for (const { spec } of daemonSets(rendered)) {
      assert.deepEqual(
        spec.template.spec.containers.map(({ name }) => name),
        ['firewall'],
      )
      assert.match(spec.template.spec.containers[0]?.args.join(' ') ?? '', /--mode=remove/)
    }
    const flags = ['--namespace', RELEASE_NAMESPACE, '--dry-run=client', '--set', 'guard.mode=remove']
    const values = new URL('sets/pools.yaml', import.meta.url).pathname
    const notes = helm('install', 'pod2iam', CHART, ...flags, '--values', values)
    for (const name of ['', '-gpu', '-edge'])
      assert.match(notes, new RegExp(`rollout status daemonset/pod2iam-node-guard${name}\\n`))
  })
})

describe('guard.pools at an API server', needsHelm, () => {
  const server = testServer()

  test('give every node one guard, whatever labels it has', async () => {
    const { admin } = server()
    await admin.create(namespace(RELEASE_NAMESPACE))
    const nodes: Readonly<Record<string, [labels: Labels, guard: string]>> = {
      plain: [{}, 'pod2iam-node-guard'],
      gpu: [{ 'karpenter.sh/nodepool': 'gpu' }, 'pod2iam-node-guard-gpu'],
      spot: [{ 'karpenter.sh/nodepool': 'gpu-spot' }, 'pod2iam-node-guard-gpu'],
      other: [{ 'karpenter.sh/nodepool': 'web' }, 'pod2iam-node-guard'],
      edge: [{ 'example.com/zone': 'edge', 'kubernetes.io/arch': 'arm64' }, 'pod2iam-node-guard-edge'],
      // The first pool gets this node.
      both: [{ 'karpenter.sh/nodepool': 'gpu', 'example.com/zone': 'edge' }, 'pod2iam-node-guard-gpu'],
    }
    for (const [name, [labels]] of Object.entries(nodes))
      await admin.create({
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name, labels: { 'kubernetes.io/os': 'linux', ...labels } },
      } as KubeObject)
    for (const object of objectsOf(template('pools')))
      if (/^(ServiceAccount|DaemonSet)$/.test(object.kind)) await admin.apply(object as unknown as KubeObject)
    const expected = Object.entries(nodes).map(([name, [, guard]]) => `${name}: ${guard}`)
    await until('a guard on every node', async () => {
      const { items } = await admin.list('pods', { namespace: RELEASE_NAMESPACE })
      return items.length >= expected.length
    })
    const { items } = await admin.list('pods', { namespace: RELEASE_NAMESPACE })
    assert.deepEqual(
      items.map((pod) => `${nodeOf(pod)}: ${pod.metadata.ownerReferences?.[0]?.name}`).sort(),
      expected.sort(),
    )
  })
})

/** The node of a pod of a DaemonSet, from the affinity that the controller adds to it. */
function nodeOf({ spec }: KubeObject): unknown {
  type Spec = {
    nodeName?: string
    affinity?: {
      nodeAffinity?: {
        requiredDuringSchedulingIgnoredDuringExecution?: {
          nodeSelectorTerms: { matchFields?: { values: string[] }[] }[]
        }
      }
    }
  }
  const { nodeName, affinity } = spec as Spec
  const terms = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms
  return nodeName ?? terms?.[0]?.matchFields?.[0]?.values[0]
}

describe('guard.pools in a cluster:', needsHelm.skip === undefined ? needsNamespaces() : needsHelm, () => {
  const pool = JSON.stringify([
    { name: 'all', nodes: { label: 'kubernetes.io/os', values: ['linux'] }, broker: { logLevel: 'debug' } },
  ])
  const rendered = (...flags: string[]) => render('sandbox', '--set-json', `guard.pools=${pool}`, ...flags)

  test('a pool’s guard serves the pods of its node, whose startup taint is removed', async () => {
    const cluster = await createCluster({ rendered: rendered() })
    try {
      assert.match(await cluster.guard(), /\/pod2iam-node-guard-all-/)
      await cluster.role('orders')
      await cluster.namespace('shop', { allowed: ['orders'] })
      const taint = { key: 'pod2iam.dev/guard-not-ready', effect: 'NoSchedule' }
      await cluster.kube.patch('nodes', cluster.node.name, undefined, { spec: { taints: [taint] } })
      await until('a node without taint', async () => {
        const { spec } = await cluster.kube.get<KubeObject & { spec: { taints?: object[] } }>(
          'nodes',
          cluster.node.name,
        )
        return (spec.taints ?? []).length === 0
      })
      const pod = await cluster.pod('shop/app', { annotations: { [ROLE]: 'orders' } })
      await cluster.pods.waitFor(pod, isReady)
      assert.equal((await credentials(cluster, pod)).Code, 'Success')
    } finally {
      await cluster.close()
    }
  })

  test('a removal leaves nothing on the node of a pool', async () => {
    const cluster = await createCluster({ rendered: rendered('--set=guard.mode=remove') })
    try {
      const links = await cluster.exec('node', ['ip', '-oneline', 'link', 'show'])
      const tables = await cluster.exec('node', ['nft', 'list', 'tables'])
      assert.doesNotMatch(links.stdout + tables.stdout, /pod2iam/)
    } finally {
      await cluster.close()
    }
  })
})
