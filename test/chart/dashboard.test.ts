/** The Grafana dashboard: its form is one that Grafana knows, and its queries are valid and use metrics that are exported. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { needsPeer, peer } from '../peers/peers.ts'
import { DASHBOARD_FILE, dashboardText } from './dashboard/dashboard.ts'
import { find, needsHelm, objectsOf, type Rendered, template } from './helm.ts'
import { needsPromtool, promtool } from './promtool.ts'
import { selectedBy, unknownIn } from './series.ts'

type Place = { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
type Panel = {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly gridPos: Place
  readonly datasource?: unknown
  readonly targets?: readonly { readonly expr: string; readonly datasource: unknown }[]
  readonly panels?: readonly Panel[]
}
type Dashboard = {
  readonly panels: readonly Panel[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] }
}

const TEXT = readFileSync(DASHBOARD_FILE, 'utf8')
const DASHBOARD: Dashboard = JSON.parse(TEXT)
const ALL = DASHBOARD.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])])
const QUERIES = ALL.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))

test('the dashboard is as its source generates it', () => {
  assert.equal(TEXT, dashboardText(), 'node test/chart/dashboard/dashboard.ts writes it anew')
})

test('every query uses metrics that programs export', () => {
  assert.ok(QUERIES.length > 30)
  for (const { title, expr } of QUERIES) {
    const selected = selectedBy(expr)
    assert.ok(selected.length > 0 || expr.startsWith('ALERTS{'), title)
    for (const one of selected) assert.deepEqual(unknownIn(one), [], title)
  }
})

test('every variable in a query is defined in the dashboard', () => {
  const known = new Set([...DASHBOARD.templating.list.map(({ name }) => name), '__rate_interval', '__all'])
  for (const [, name = ''] of TEXT.matchAll(/\$\{?(\w+)/g)) assert.ok(known.has(name), name)
})

test('panels have distinct ids, a description, and places on the grid without overlap', () => {
  assert.equal(new Set(ALL.map(({ id }) => id)).size, ALL.length)
  const open = DASHBOARD.panels.map(({ gridPos }) => gridPos)
  const inside = DASHBOARD.panels.map(({ panels = [] }) => panels.map(({ gridPos }) => gridPos))
  for (const places of [open, ...inside])
    for (const [index, one] of places.entries()) {
      assert.ok(one.x >= 0 && one.x + one.w <= 24)
      assert.ok(places.slice(index + 1).every((other) => !overlap(one, other)))
    }
  for (const { type, title, description = '' } of ALL)
    if (type !== 'row') assert.ok(description.length > 10, title)
})

test('every panel queries the Prometheus that the viewer has chosen', () => {
  const chosen = { type: 'prometheus', uid: '${datasource}' }
  for (const { type, datasource, targets = [] } of ALL)
    if (type !== 'row')
      for (const one of [datasource, ...targets.map((target) => target.datasource)])
        assert.deepEqual(one, chosen)
})

describe('Prometheus', needsPromtool, () => {
  test('understands every query', () => {
    const rules = QUERIES.map(({ expr }, index) => ({
      record: `query:${index}`,
      expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$node', '.*'),
    }))
    const file = { groups: [{ name: 'dashboard', rules }] }
    assert.equal(promtool(['check', 'rules', 'rules.yaml'], { 'rules.yaml': file }), undefined)
    const broken = { groups: [{ name: 'dashboard', rules: [{ record: 'query:0', expr: 'sum(' }] }] }
    assert.match(promtool(['check', 'rules', 'rules.yaml'], { 'rules.yaml': broken }) ?? '', /parse/)
  })
})

describe('Grafana', needsPeer('grafana-types'), () => {
  const judged = (dashboard: unknown) => {
    const input = JSON.stringify(dashboard)
    const { status, stdout, stderr } = spawnSync(peer('grafana-types') ?? '', { input, encoding: 'utf8' })
    assert.ok(status === 0 || status === 1, stderr)
    return stdout
  }

  test('knows every field of the dashboard, its panels, their options and queries', () => {
    assert.equal(judged(DASHBOARD), '')
  })

  test('would reject a misspelt field', () => {
    const [first, second, ...others] = DASHBOARD.panels
    const panels = (changed: object) => ({
      ...DASHBOARD,
      panels: [first, { ...second, ...changed }, ...others],
    })
    assert.match(judged(panels({ titel: 'x' })), /unexpected field 'titel'/)
    assert.match(judged(panels({ options: { colourMode: 'value' } })), /colourMode/)
    assert.match(
      judged(panels({ targets: [{ refId: 'A', datasource: { type: 'prometheus' }, expr: 1 }] })),
      /expr/,
    )
    assert.match(judged({ ...DASHBOARD, schema: 39 }), /unexpected field 'schema'/)
  })
})

describe('metrics.grafanaDashboard', needsHelm, () => {
  test('is off by default', () => {
    assert.ok(objectsOf(template('default')).every(({ kind }) => kind !== 'ConfigMap'))
  })

  test('creates a ConfigMap that Grafana’s sidecar finds, with the dashboard unchanged', () => {
    const map = find(objectsOf(template('monitored')), 'ConfigMap') as Rendered & {
      data: Record<string, string>
    }
    assert.equal(map.metadata.namespace, 'monitoring')
    assert.equal(map.metadata.labels?.grafana_dashboard, '1')
    assert.deepEqual(map.metadata.annotations, { grafana_folder: 'IAM' })
    // This set declares nodes that are not meant to have a guard.
    const expected = TEXT.replaceAll('fargate-.*', 'fargate-.*|build-.*')
    assert.notEqual(expected, TEXT)
    assert.deepEqual(JSON.parse(map.data['pod2iam.json'] ?? ''), JSON.parse(expected))
  })
})

function overlap(one: Place, other: Place): boolean {
  return (
    one.x < other.x + other.w &&
    other.x < one.x + one.w &&
    one.y < other.y + other.h &&
    other.y < one.y + one.h
  )
}
