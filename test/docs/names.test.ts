/** The flags, labels, annotations, chart values and metrics that the pages name exist. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { codeSpans, PAGES, type Page, PROJECT, page } from './markdown.ts'
import { CHART_SECTIONS, FLAGS, isChartValue, source } from './source.ts'

/** Flags of other programs that the pages name. */
const OTHERS: ReadonlySet<string> = new Set([
  // kubelet, cluster-autoscaler
  ...['--register-with-taints', '--startup-taint'],
  // node
  ...['--max-semi-space-size', '--v8-pool-size'],
  // kubectl drain
  '--delete-emptydir-data',
  // helm
  ...['--set', '--version'],
  // npm run demo, npm run simulate
  ...['--keep', '--share'],
])
/** Keys that the pages name beside ours, which operators choose. */
const OTHER_KEYS: ReadonlySet<string> = new Set([
  'pod2iam.dev/guard-not-ready',
  // This key is misspelt on purpose.
  'pod2iam.dev/redirekt',
])

/** The page without the first cells of tables that list names of another tool. */
function ourPart({ file, prose }: Page): string {
  return file.startsWith('docs/migrating-from-') ? prose.replace(/^\|(?:\\\||[^|])*\|/gm, '|') : prose
}

/** Names of kiam in sentences of the guide for its users. */
const KIAMS: ReadonlySet<string> = new Set([
  '--assume-role-arn',
  '--no-iptables-remove',
  '--allow-route-regexp',
  '--disable-strict-namespace-regexp',
])

for (const one of PAGES) {
  const { file, prose, blocks } = one

  test(`${file} names only flags that exist`, () => {
    // This page names flags of V8.
    if (file === 'docs/benchmarks.md') return
    const named = codeSpans(ourPart(one)).flatMap((code) => code.match(/(?<![\w-])--[a-z][a-z0-9-]*/g) ?? [])
    const unknown = named.filter(
      (flag) =>
        !FLAGS.has(flag) && !OTHERS.has(flag) && !(file === 'docs/migrating-from-kiam.md' && KIAMS.has(flag)),
    )
    // Flags of kubectl and aws are allowed in whole commands.
    assert.deepEqual(
      unknown.filter((flag) => !inCommand(prose, flag)),
      [],
    )
  })

  test(`${file} names only labels and annotations that exist`, () => {
    const everything = [prose, ...blocks.map(({ text }) => text)].join('\n').replaceAll('\\.', '.')
    const named = everything.match(/(?<![\w-])(?:pod2iam\.dev|iam\.amazonaws\.com)\/[a-z][a-z-]*[a-z]/g) ?? []
    const known: ReadonlySet<string> = new Set(Object.values(KEYS))
    assert.deepEqual(
      named.filter((key) => !known.has(key) && !OTHER_KEYS.has(key)),
      [],
    )
  })

  test(`${file} names only chart values that exist`, () => {
    const path = new RegExp(`^(?:${CHART_SECTIONS.join('|')})(?:\\.[A-Za-z]+)+(?=$|=|: )`)
    const named = codeSpans(ourPart(one)).flatMap((code) => path.exec(code)?.[0] ?? [])
    assert.deepEqual(
      named.filter((value) => !isChartValue(value)),
      [],
    )
  })

  test(`${file} names only metrics that exist`, () => {
    const named = codeSpans(prose).flatMap((code) => code.match(/\bpod2iam_[a-z]+_[a-z_]+/g) ?? [])
    assert.deepEqual(
      named.filter((name) => !isMetric(name)),
      [],
    )
  })
}

test('docs/architecture.md names only files and folders that exist', () => {
  const roots = [
    '',
    'common',
    'injector',
    'sidecar',
    'sidecar/imds',
    'node-guard',
    'node-guard/broker',
    'node-guard/firewall',
    'node-guard/firewall/gate',
  ]
  const named = codeSpans(page('docs/architecture.md').prose).filter((code) =>
    /^[\w.-]+(?:\/[\w.-]+)*(?:\.ts|\/)$/.test(code),
  )
  assert.ok(named.length > 40, String(named.length))
  assert.deepEqual(
    named.filter((path) => !roots.some((root) => existsSync(join(PROJECT, root, path)))),
    [],
  )
})

function inCommand(prose: string, flag: string): boolean {
  return codeSpans(prose).some(
    (code) => /^(?:[A-Z_]+=\S+ )?(?:kubectl|aws|helm|npm|node) /.test(code) && code.includes(flag),
  )
}

const METRICS: Readonly<Record<string, string>> = {
  build: 'common/build-info.ts',
  broker: 'node-guard/broker/metrics.ts',
  firewall: 'node-guard/firewall/report/metrics.ts',
  injector: 'injector/metrics.ts',
  sidecar: 'sidecar/health/metrics.ts',
}

/** The broker and the injector have whole names in their sources, the other programs add a prefix to theirs. */
function isMetric(name: string): boolean {
  const [, component = '', rest = ''] = /^pod2iam_([a-z]+)_(.+)$/.exec(name) ?? []
  const file = METRICS[component]
  return file !== undefined && [`'${name}'`, `'${rest}'`].some((quoted) => source(file).includes(quoted))
}
