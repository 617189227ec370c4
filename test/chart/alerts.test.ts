/** Every alert, evaluated by promtool: it fires for the series that it is meant for, with the expected summary, and not for others. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { RULE_FILE, type Rule, rulesOf } from './alerts.ts'
import { needsPromtool, promtool } from './promtool.ts'
import { selectedBy, unknownIn } from './series.ts'

/** The values of each series, in promtool's notation. */
type Series = Readonly<Record<string, string>>
type Fired = { readonly labels: Readonly<Record<string, string>>; readonly summary: string }
type Case = {
  /** The evaluation time. */
  readonly at: string
  readonly firing: { readonly series: Series; readonly alerts: readonly Fired[] }
  readonly quiet: Readonly<Record<string, Series>>
}

const CASES: Readonly<Record<string, Case>> = parse(
  readFileSync(new URL('alerts/cases.yaml', import.meta.url), 'utf8'),
  // All values are strings: 0x10 is promtool's notation, and no number.
  { schema: 'failsafe' },
)
const RULES = rulesOf(RULE_FILE)

test('every alert has test cases, and every test case an alert', () => {
  assert.deepEqual(Object.keys(CASES).sort(), RULES.map(({ alert }) => alert).sort())
})

test('alerts and their test cases use only metrics that programs export', () => {
  for (const { alert, expr } of RULES) {
    const selected = selectedBy(expr)
    assert.notEqual(selected.length, 0, alert)
    const { firing, quiet } = CASES[alert] as Case
    const given = [firing.series, ...Object.values(quiet)].flatMap((series) => Object.keys(series))
    for (const one of [...selected, ...given.flatMap(selectedBy)]) assert.deepEqual(unknownIn(one), [], alert)
  }
})

test('the check above finds a metric, a label or a value that no program exports', () => {
  const unknown = (query: string) => selectedBy(query).flatMap(unknownIn)
  assert.deepEqual(unknown('sum(rate(pod2iam_broker_requests[5m])) > 0'), [
    'no program exports pod2iam_broker_requests',
  ])
  assert.deepEqual(unknown('kube_node_infos'), ['no program exports kube_node_infos'])
  assert.deepEqual(unknown('pod2iam_broker_pods{role="x"}'), ['pod2iam_broker_pods has no label role'])
  assert.deepEqual(unknown('pod2iam_firewall_info{mode=~"enforce|enforced"} == 1'), [
    'pod2iam_firewall_info has no mode="enforced"',
  ])
})

describe('the alert', needsPromtool, () => {
  for (const rule of RULES) {
    const { at, firing, quiet } = CASES[rule.alert] as Case

    test(`${rule.alert} fires with its summary`, () => {
      assert.equal(judged(rule, firing.series, at, firing.alerts), undefined)
    })

    for (const [what, series] of Object.entries(quiet))
      test(`${rule.alert} does not fire in this case: ${what}`, () => {
        assert.equal(judged(rule, series, at, []), undefined)
      })
  }

  test('fails its test if it does not fire or has another summary', () => {
    const rule = RULES.find(({ alert }) => alert === 'Pod2iamInjectorOneReplica') ?? assert.fail()
    const { at, firing, quiet } = CASES[rule.alert] as Case
    assert.match(judged(rule, Object.values(quiet)[0] ?? {}, at, firing.alerts) ?? '', /exp:/)
    assert.match(judged(rule, firing.series, at, [{ labels: {}, summary: 'Another' }]) ?? '', /Another/)
  })
})

/** What promtool finds wrong with the alerts that a rule fires for these series; of the annotations, only the summary is compared. */
function judged(rule: Rule, series: Series, at: string, alerts: readonly Fired[]): string | undefined {
  const { annotations, ...rest } = rule
  const rules = {
    groups: [{ name: 'alerts', rules: [{ ...rest, annotations: { summary: annotations.summary } }] }],
  }
  const expected = alerts.map(({ labels, summary }) => ({
    exp_labels: { ...rule.labels, ...labels },
    exp_annotations: { summary },
  }))
  return promtool(['test', 'rules', 'test.yaml'], {
    'rules.yaml': rules,
    'test.yaml': {
      rule_files: ['rules.yaml'],
      tests: [
        {
          interval: '1m',
          input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
          alert_rule_test: [{ eval_time: at, alertname: rule.alert, exp_alerts: expected }],
        },
      ],
    },
  })
}
