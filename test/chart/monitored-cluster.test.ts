/** The alerts and the dashboard with the metrics that the processes of a cluster really export. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { ROLE } from '../e2e/pods.ts'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import type { KubeObject } from '../sandbox/kube/client/client.ts'
import { until } from '../support/until.ts'
import { RULE_FILE } from './alerts.ts'
import { DASHBOARD_FILE } from './dashboard/dashboard.ts'
import { needsPromtool, promtool } from './promtool.ts'

/** The samples of one scrape of all processes, by series. */
type Scrape = ReadonlyMap<string, string>

/** What kube-state-metrics would export about the sandbox's one node and its pods. */
const KUBE_STATE_METRICS: Scrape = new Map([
  ['kube_node_info{node="node", os_image="Amazon Linux 2023", provider_id="aws:///eu-west-1a/i-1"}', '1'],
  ['kube_node_status_condition{node="node", condition="Ready", status="true"}', '1'],
  [
    'kube_daemonset_status_desired_number_scheduled{namespace="pod2iam-system", daemonset="pod2iam-node-guard"}',
    '1',
  ],
  ['kube_daemonset_status_number_ready{namespace="pod2iam-system", daemonset="pod2iam-node-guard"}', '1'],
  [
    'kube_deployment_status_replicas_available{namespace="pod2iam-system", deployment="pod2iam-injector"}',
    '1',
  ],
])

/** The number of firing instances of each alert. */
type Fired = Readonly<Record<string, number>>

/** The sandbox has one replica of the injector; the chart leaves this alert out with that value. */
const ALWAYS: Fired = { Pod2iamInjectorOneReplica: 1 }
/** The sandbox's instance answers IMDSv1 and has a hop limit of two. */
const OF_THE_INSTANCE: Fired = { Pod2iamFirewallWarning: 2 }

/** Panels that are empty while nothing is wrong, or while no sidecars are scraped. */
const EMPTY = [
  'Firing alerts',
  'Nodes that are not protected',
  'Rules repaired',
  'Seen in audit',
  'Refusals of brokers',
  'Pods refused',
  'Log lines lost',
  'Shortest remaining lifetime of credentials',
  'Requests to brokers',
  'Malformed requests refused',
]

const needs = needsPromtool.skip === undefined ? needsNamespaces() : needsPromtool

describe('with the metrics of a cluster,', needs, () => {
  let cluster: Cluster
  let healthy: Scrape

  before(async () => {
    cluster = await createCluster()
    await cluster.role('orders')
    await cluster.namespace('shop', { allowed: ['orders', 'missing'] })
    await cluster.pods.waitFor(await cluster.pod('shop/app', { annotations: { [ROLE]: 'orders' } }), isReady)
    await cluster.pods.waitFor(await cluster.guard(), isReady)
    healthy = await until('an installation that has settled', async () => {
      const now = await scrape()
      return total(now, /^pod2iam_injector_ca_bundle_in_sync/) === 1 && now
    })
  })
  after(() => cluster?.close())

  test('only the expected alerts fire while nothing is wrong', () => {
    assert.ok(healthy.size > 200)
    assert.equal(wrong([healthy], { ...ALWAYS, ...OF_THE_INSTANCE }), undefined)
  })

  test('alerts report a node whose guard is not scraped', () => {
    const gone = new Map(
      [...healthy].filter(([series]) => !/^pod2iam_(firewall|broker)|"(firewall|broker)"/.test(series)),
    )
    assert.equal(wrong([healthy, gone], { ...ALWAYS, Pod2iamNodeWithoutGuard: 1 }), undefined)
    const broker = new Map([...healthy].filter(([series]) => !/^pod2iam_broker/.test(series)))
    assert.equal(
      wrong([healthy, broker], { ...ALWAYS, ...OF_THE_INSTANCE, Pod2iamBrokerMissing: 1 }),
      undefined,
    )
  })

  test('alerts report rules that are removed again and again, and a role that STS refuses', async () => {
    const table = 'inet pod2iam_guard'
    for (let round = 0; round < 8; round++) {
      await cluster.exec('node', ['nft', 'delete', 'table', ...table.split(' ')])
      await until('the rules', async () => {
        const { stdout } = await cluster.exec('node', ['nft', 'list', 'tables'])
        return stdout.includes(table)
      })
    }
    await cluster.pod('shop/denied', { annotations: { [ROLE]: 'missing' } })
    const broken = await until('the metrics of both', async () => {
      const now = await scrape()
      const repairs = total(now, /^pod2iam_firewall_repairs_total\{(?!cause="start")/)
      return repairs >= 7 && total(now, /^pod2iam_broker_sts_calls_total\{outcome="denied"/) >= 1 && now
    })
    const expected = { ...ALWAYS, ...OF_THE_INSTANCE, Pod2iamRulesRepaired: 1, Pod2iamStsDenied: 1 }
    // The waiting pod is found 30 s later, so it may or may not be in this scrape.
    const isFound = total(broken, /^pod2iam_injector_pod_findings\{finding="GateWaiting"/) > 0
    const fired = isFound ? { ...expected, Pod2iamPodsWaiting: 1 } : expected
    assert.equal(wrong([healthy, broken], fired), undefined)
  })

  test('every panel of the dashboard shows something, except for those about problems', () => {
    type Panel = { title: string; targets?: { expr: string }[]; panels?: Panel[] }
    const { panels }: { panels: Panel[] } = JSON.parse(readFileSync(DASHBOARD_FILE, 'utf8'))
    const queries = panels
      .flatMap((panel) => [panel, ...(panel.panels ?? [])])
      .flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))
    const rules = queries.map(({ expr }, index) => ({
      record: `query:${index}`,
      expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$node', '.*'),
    }))
    const shown = queries.flatMap(({ title }, index) =>
      EMPTY.includes(title) ? [] : [{ labels: `{__name__="query:${index}"}`, value: 1 }],
    )
    assert.ok(shown.length > 20)
    const found = judged({ groups: [{ name: 'dashboard', rules }] }, [healthy], {
      expr: 'group by (__name__) ({__name__=~"query:.+"})',
      exp_samples: shown,
    })
    assert.equal(found, undefined, JSON.stringify(queries, null, 1))
  })

  /** Scrapes all processes, with the labels that the chart's monitors and the Prometheus operator add. */
  async function scrape(): Promise<Scrape> {
    const { items } = await cluster.kube.list<KubeObject & { status?: { podIP?: string } }>('pods')
    const injector = items.find(({ metadata }) => metadata.name?.startsWith('pod2iam-injector-'))
    const places: readonly [place: string, pod: string][] = [
      ['127.0.0.1:9173', 'guard'],
      ['127.0.0.1:9172', 'guard'],
      [`${injector?.status?.podIP}:8080`, injector?.metadata.name ?? ''],
    ]
    const samples = new Map(KUBE_STATE_METRICS)
    for (const [place, pod] of places) {
      const { stdout } = await cluster.exec('node', ['curl', '-sf', '-m', '10', `http://${place}/metrics`])
      for (const [, name = '', labels = '', value = ''] of stdout.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)) {
        const all = [labels, `node="node"`, `pod="${pod}"`, `instance="${place}"`].filter(Boolean).join(', ')
        if (value !== 'NaN') samples.set(`${name}{${all}}`, value)
      }
    }
    return samples
  }
})

/** The sum of the samples of some series. */
function total(samples: Scrape, series: RegExp): number {
  return [...samples].reduce((sum, [name, value]) => sum + (series.test(name) ? Number(value) : 0), 0)
}

/** What promtool finds wrong with these alerts firing, and no others, at any time since the last scrape. */
function wrong(scrapes: readonly Scrape[], alerts: Fired): string | undefined {
  return judged(RULE_FILE, scrapes, {
    // Some alerts no longer fire when the longest `for` is over.
    expr: 'count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[40m]))',
    exp_samples: Object.entries(alerts).map(([name, value]) => ({
      labels: `{alertname="${name}"}`,
      value,
    })),
  })
}

/**
 * What promtool finds wrong with the answer to a query, after some rules have been evaluated.
 *
 * @param scrapes the last one is repeated for as long as an alert may take, the one before it for three hours
 */
function judged(
  rules: object,
  scrapes: readonly Scrape[],
  query: { readonly expr: string; readonly exp_samples: readonly object[] },
): string | undefined {
  const names = new Set(scrapes.flatMap((samples) => [...samples.keys()]))
  const [minutes, lastly] = [180, 50]
  const series = [...names].map((name) => ({
    series: name,
    values: scrapes
      .map(
        (samples, index) => `${samples.get(name) ?? '_'}x${index === scrapes.length - 1 ? lastly : minutes}`,
      )
      .join(' '),
  }))
  const end = (scrapes.length - 1) * minutes + lastly
  return promtool(['test', 'rules', 'test.yaml'], {
    'rules.yaml': rules,
    'test.yaml': {
      rule_files: ['rules.yaml'],
      tests: [
        {
          interval: '1m',
          input_series: series,
          promql_expr_test: [{ ...query, eval_time: `${end}m` }],
        },
      ],
    },
  })
}
