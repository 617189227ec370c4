/** The alerts as helm renders them: with the names of a release, a runbook for each, and the effect of the values. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RULE_FILE, type Rule, type RuleFile, rulesOf } from './alerts.ts'
import { find, needsHelm, objectsOf, type Rendered, render } from './helm.ts'
import { needsPromtool, promtool } from './promtool.ts'

const ON = ['--set', 'metrics.prometheusRule.enabled=true']

function rendered(...args: readonly string[]): RuleFile {
  const flags = args.flatMap((value) => ['--set', value])
  const { spec } = find(objectsOf(render('default', ...ON, ...flags)), 'PrometheusRule') as Rendered & {
    spec: RuleFile
  }
  return spec
}

const named = (file: RuleFile, name: string): Rule =>
  rulesOf(file).find(({ alert }) => alert === name) ?? assert.fail(`${name} is not there`)
const names = (file: RuleFile) => rulesOf(file).map(({ alert }) => alert)

describe('metrics.prometheusRule', needsHelm, () => {
  test('is off by default', () => {
    assert.ok(objectsOf(render('default')).every(({ kind }) => kind !== 'PrometheusRule'))
  })

  test('has every alert of the file, with the same expression, severity, summary and description', () => {
    const without = ({ annotations, ...rule }: Rule) => {
      const { runbook_url: _, ...rest } = annotations
      return { ...rule, annotations: rest }
    }
    assert.deepEqual(rulesOf(rendered()).map(without), rulesOf(RULE_FILE))
    for (const { alert, labels, annotations } of rulesOf(RULE_FILE)) {
      assert.match(labels.severity ?? '', /^(critical|warning|info)$/, alert)
      assert.deepEqual(Object.keys(annotations).sort(), ['description', 'summary'], alert)
    }
  })

  test('links every alert to its section of docs/alerts.md of this release, or to the operator’s own page', () => {
    for (const { alert, annotations } of rulesOf(rendered()))
      assert.equal(
        annotations.runbook_url,
        `https://github.com/pod2iam/pod2iam/blob/v0.1.0/docs/alerts.md#${alert.toLowerCase()}`,
      )
    const { annotations } = named(
      rendered('metrics.prometheusRule.runbookUrl=https://wiki.example/pod2iam'),
      'Pod2iamStsDenied',
    )
    assert.equal(annotations.runbook_url, 'https://wiki.example/pod2iam#pod2iamstsdenied')
  })

  test('leaves out disabled alerts, and those that need kube-state-metrics where there is none', () => {
    const disabled = names(
      rendered('metrics.prometheusRule.disabled={Pod2iamStsDenied,Pod2iamCredentialsEnd}'),
    )
    assert.deepEqual(
      names(RULE_FILE).filter((name) => !disabled.includes(name)),
      ['Pod2iamStsDenied', 'Pod2iamCredentialsEnd'],
    )
    const file = rendered('metrics.prometheusRule.kubeStateMetrics=false')
    for (const { expr } of rulesOf(file)) assert.doesNotMatch(expr, /\bkube_/)
    assert.ok(names(file).includes('Pod2iamNodeNotVerified'))
  })

  test('has no alert about a single replica where only one is configured', () => {
    assert.ok(!names(rendered('injector.replicas=1')).includes('Pod2iamInjectorOneReplica'))
  })

  test('can set labels, and the severity of single alerts', () => {
    const file = rendered(
      'metrics.prometheusRule.alertLabels.team=platform',
      'metrics.prometheusRule.severities.Pod2iamStsDenied=warning',
    )
    assert.deepEqual(named(file, 'Pod2iamStsDenied').labels, { severity: 'warning', team: 'platform' })
    assert.deepEqual(named(file, 'Pod2iamStsThrottled').labels, { severity: 'warning', team: 'platform' })
    assert.deepEqual(named(file, 'Pod2iamInjectorDown').labels, { severity: 'critical', team: 'platform' })
  })

  test('uses the names and limits of this release in its expressions', () => {
    const file = rendered(
      'fullnameOverride=iam',
      'broker.sessionDuration=1800',
      'injector.tls.existingSecret=tls',
      'injector.tls.injectCaFrom=pod2iam-system/tls',
      'metrics.prometheusRule.nodesWithoutGuard=build-.*|gpu-7',
    )
    assert.match(named(file, 'Pod2iamInjectorUnavailable').expr, /deployment="iam-injector"/)
    assert.match(
      named(file, 'Pod2iamGuardNotReady').expr,
      /daemonset=~"iam-node-guard\(-\.\+\)\?".*"iam-node/,
    )
    assert.match(named(file, 'Pod2iamCertificateEnds').expr, /time\(\) < 604800$/)
    assert.match(named(file, 'Pod2iamCredentialsEnd').expr, / < 600$/)
    assert.match(named(file, 'Pod2iamNodeWithoutGuard').expr, /node!~"fargate-\.\*\|build-\.\*\|gpu-7"/)
  })

  test('is a rule file that Prometheus accepts', needsPromtool, () => {
    for (const file of [
      rendered(),
      rendered('metrics.prometheusRule.nodesWithoutGuard=build-.*|gpu-7', 'injector.replicas=1'),
    ])
      assert.equal(
        promtool(['check', 'rules', '--lint-fatal', 'rules.yaml'], { 'rules.yaml': file }),
        undefined,
      )
  })
})

describe('the chart’s monitors', needsHelm, () => {
  type Endpoint = {
    readonly port: string
    readonly relabelings: readonly object[]
    readonly metricRelabelings?: object[]
  }
  const NODE = { sourceLabels: ['__meta_kubernetes_pod_node_name'], targetLabel: 'node' }

  test('add the node to every series, and then what the operator configures', () => {
    const objects = objectsOf(
      render(
        'default',
        '--set-json',
        'metrics.podMonitor={"enabled":true,"relabelings":[{"targetLabel":"cluster","replacement":"eu"}],"metricRelabelings":[{"action":"drop","sourceLabels":["__name__"],"regex":"x"}]}',
        '--set',
        'metrics.serviceMonitor.enabled=true',
      ),
    )
    const { podMetricsEndpoints } = find(objects, 'PodMonitor').spec as { podMetricsEndpoints: Endpoint[] }
    assert.deepEqual(
      podMetricsEndpoints.map(({ port }) => port),
      ['firewall-health', 'broker-health'],
    )
    for (const { relabelings, metricRelabelings } of podMetricsEndpoints) {
      assert.deepEqual(relabelings, [NODE, { targetLabel: 'cluster', replacement: 'eu' }])
      assert.deepEqual(metricRelabelings, [{ action: 'drop', sourceLabels: ['__name__'], regex: 'x' }])
    }
    const { endpoints } = find(objects, 'ServiceMonitor').spec as { endpoints: Endpoint[] }
    assert.deepEqual(endpoints[0]?.relabelings, [NODE])
  })
})
