/** docs/metrics.md has every metric that a program exports, with its type and labels, and no other. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { injectorMetrics } from '../../injector/metrics.ts'
import type { StsFailure } from '../../node-guard/broker/aws/classify.ts'
import { brokerMetrics } from '../../node-guard/broker/metrics.ts'
import { NO_PACKETS } from '../../node-guard/firewall/backend/counts.ts'
import { createSightings } from '../../node-guard/firewall/block/audit.ts'
import { NO_REPAIRS } from '../../node-guard/firewall/block/block.ts'
import { metricsText } from '../../node-guard/firewall/report/metrics.ts'
import type { GuardReport } from '../../node-guard/firewall/report/report.ts'
import { Metrics } from '../../sidecar/health/metrics.ts'
import { REFUSALS, type Refusal } from '../../sidecar/health/refusals.ts'
import { codeSpans, page, rowsUnder } from './markdown.ts'

type Metric = { readonly type: string; readonly labels: ReadonlyMap<string, ReadonlySet<string>> }

const NOW = Date.parse('2026-01-01T00:00:00Z')

/** Labels that the samples of every histogram have. */
const OF_HISTOGRAMS = new Set(['le'])
/** Metrics of prom-client about the injector's process. */
const OF_PROCESSES = /^pod2iam_(?:process|nodejs)_/

const OF_STS: Readonly<Record<StsFailure, true>> = {
  denied: true,
  invalid: true,
  chaining: true,
  throttled: true,
  'node-credentials': true,
  unavailable: true,
}

/** The metrics in an exposition text, with their labels and values. */
function metricsIn(text: string): Map<string, Metric> {
  const found = new Map<string, { type: string; labels: Map<string, Set<string>> }>()
  for (const [, name = '', type = ''] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm))
    found.set(name, { type, labels: new Map() })
  for (const [, sample = '', list = ''] of text.matchAll(/^([a-z]\w*)\{([^}]*)\} /gm)) {
    const metric = found.get(sample) ?? found.get(sample.replace(/_(?:bucket|sum|count)$/, ''))
    for (const [, label = '', value = ''] of list.matchAll(/(\w+)="([^"]*)"/g))
      if (metric && !OF_HISTOGRAMS.has(label))
        metric.labels.set(label, (metric.labels.get(label) ?? new Set()).add(value))
  }
  return new Map([...found].filter(([name]) => !OF_PROCESSES.test(name)))
}

function firewall(): string {
  const report = (changed: Partial<GuardReport>): GuardReport => ({
    mode: 'enforce',
    block: {
      verified: true,
      checkedAt: NOW,
      detail: undefined,
      backend: 'nft',
      fallback: undefined,
      othersLeft: undefined,
      packets: NO_PACKETS,
      repairs: NO_REPAIRS,
    },
    owned: { held: true, detail: undefined, packets: NO_PACKETS },
    link: { up: true, changed: false },
    surroundings: { looked: true, bypass: undefined, leftovers: [], warnings: [] },
    sightings: createSightings(() => NOW),
    stateFault: undefined,
    pollIntervalMs: 10_000,
    ...changed,
  })
  const hostNetwork = (mode: 'audit' | 'block') => ({
    ...{ mode, verified: true, repairs: 0, pods: [] },
    packets: { allowed: 0, others: 0, unknown: 0 },
  })
  return [
    report({ mode: 'enforce', hostNetwork: hostNetwork('block') }),
    report({ mode: 'audit', hostNetwork: hostNetwork('audit') }),
  ]
    .map((one) => metricsText(one, NOW))
    .join('')
}

async function broker(): Promise<string> {
  const metrics = brokerMetrics()
  metrics.restricts({ namespaceRestrictions: true, permittedRoles: [] })
  metrics.observe({
    pods: () => 1,
    sessions: () => 1,
    soonestExpiry: () => NOW,
    overdue: () => 0,
    waitingForSts: () => 0,
    watchAges: () => ({ pods: 1, namespaces: 1 }),
    leftOut: () => ({ pods: 0, namespaces: 0 }),
    listeners: () => 2,
  })
  for (const code of ['ok', 'sts-denied']) metrics.requests.inc({ path: 'credentials', code })
  metrics.requestSeconds.observe(0.1)
  for (const outcome of ['success', ...Object.keys(OF_STS)]) metrics.stsCalls.inc({ outcome })
  for (const outcome of ['hit', 'miss', 'negative', 'stale']) metrics.cache.inc({ outcome })
  for (const outcome of ['sent', 'failed', 'limited']) metrics.events.inc({ outcome })
  return await metrics.registry.metrics()
}

async function injector(): Promise<string> {
  const metrics = injectorMetrics()
  metrics.observe('mutate', 'patch', 'injected', 0.1)
  metrics.certificateNotAfter(NOW)
  metrics.bundleInSync(() => true)
  metrics.event('sent')
  metrics.podWatch({
    counts: () => ({ findings: { InjectionMissing: 1, GateWaiting: 1 }, versions: new Map([['0.1.0', 1]]) }),
    ages: () => ({ pods: 1, namespaces: 1 }),
    leftOut: () => 0,
  })
  metrics.startupTaint({ tainted: () => 0, removed: () => 0 })
  metrics.peers(() => ({ same: 0, 'other-settings': 0, strict: 0, unreadable: 0 }))
  return await metrics.text()
}

async function sidecar(): Promise<string> {
  const metrics = new Metrics()
  metrics.exchange({ path: '/latest/api/token', status: 200 })
  for (const refusal of Object.keys(REFUSALS) as Refusal[])
    metrics.exchange({ path: undefined, status: undefined, refusal })
  metrics.refresh({ kind: 'retry', code: 'busy', detail: '', retryAfter: undefined }, 0)
  return metrics.text({ remaining: 0, ready: false, now: 0 })
}

const PROGRAMS = { Firewall: firewall, Broker: broker, Injector: injector, Sidecar: sidecar }

for (const [title, text] of Object.entries(PROGRAMS))
  test(`docs/metrics.md has every metric of this program with type, labels and values: ${title}`, async () => {
    const metrics = metricsIn(await text())
    const [, ...rows] = rowsUnder(page('docs/metrics.md'), title)
    const documented = new Map(
      rows.map(([name = '', type = '', labels = '', meaning = '']) => {
        assert.ok(meaning.length > 5, name)
        return [codeSpans(name)[0], { type, labels }] as const
      }),
    )
    assert.deepEqual([...documented.keys()].sort(), [...metrics.keys()].sort())
    for (const [name, { type, labels }] of metrics) {
      const row = documented.get(name)
      assert.equal(row?.type, type, name)
      const cells = (row?.labels ?? '').split(';').filter((cell) => cell.trim() !== '')
      const named = cells.flatMap((cell) => {
        const [first = '', values] = cell.split(':')
        // A cell with a link refers to another page for the values.
        const all = values === undefined || values.includes('](') ? undefined : new Set(codeSpans(values))
        return codeSpans(first).map((label) => [label, all] as const)
      })
      assert.deepEqual(named.map(([label]) => label).sort(), [...labels.keys()].sort(), name)
      for (const [label, values] of named) {
        const missing = [...(labels.get(label) ?? [])].filter((value) => values?.has(value) === false)
        assert.deepEqual(missing, [], `${name}, ${label}`)
      }
    }
  })
