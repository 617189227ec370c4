/** docs/troubleshooting.md quotes only what programs print, and has a row for every code that users can see. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { PROBLEMS } from '../../common/protocol.ts'
import { REASONS } from '../../injector/reasons.ts'
import { WARNING_CODES } from '../../node-guard/firewall/node/surroundings.ts'
import { REFUSALS } from '../../sidecar/health/refusals.ts'
import { codeSpans, page } from './markdown.ts'
import { ALTERNATIVES, codesIn, SENTENCES, source } from './source.ts'

const PAGE = page('docs/troubleshooting.md')
const SPANS = new Set(codeSpans(PAGE.prose))

/** The texts in double quotes outside of code spans. */
const QUOTES = [...PAGE.prose.replace(/`[^`\n]*`/g, '').matchAll(/"([^"\n]+)"/g)].map(
  ([, quote = '']) => quote,
)

test('docs/troubleshooting.md has enough quotes to check', () => {
  assert.ok(QUOTES.length > 45, String(QUOTES.length))
})

for (const quote of new Set(QUOTES))
  test(`a program prints "${quote}"`, () => {
    for (const part of quote.split('…').map((text) => text.trim()))
      assert.ok(isSaid(part), `no source has ${JSON.stringify(part)}`)
  })

function isSaid(part: string): boolean {
  // The name of the step for which the gate waits is inserted.
  const [, step] = /^waiting for (the .+)$/.exec(part) ?? []
  const composed =
    step !== undefined && SENTENCES.includes('`waiting for …`') && SENTENCES.includes(`'${step}'`)
  return composed || SENTENCES.includes(part) || ALTERNATIVES.includes(part)
}

/** Reasons that need no action, and those that are Events. */
const QUIET = new Set([
  ...[
    'injected',
    'already-injected',
    'unchanged',
    'template',
    'warned-only',
    'not-a-pod-creation',
    'not-validated',
  ],
  ...['injection-missing', 'never-injected', 'gate-waiting', 'start-waiting'],
])

const READINESS: readonly [file: string, pattern: RegExp][] = [
  ['node-guard/firewall/report/report.ts', /(?:not\(|code: )'([a-z-]+)'/g],
  ['node-guard/firewall/status/file.ts', /(?:not\(\s*|code: )'([a-z-]+)'/g],
  ['node-guard/firewall/status/leftovers.ts', /code: '([a-z-]+)'/g],
  ['node-guard/broker/serve.ts', /code: '([a-z-]+)'/g],
  ['node-guard/broker/broker.ts', /code: '([a-z-]+)'/g],
  ['injector/readiness.ts', /code: '([a-z-]+)'/g],
  ['injector/pod-watch/readyz-code.ts', /'(sidecar-[a-z-]+)'/g],
  ['sidecar/health/readiness.ts', /not\('([a-z-]+)'/g],
  ['sidecar/credentials/store.ts', /code: '([a-z-]+)'/g],
  ['sidecar/broker/client.ts', /code: (?:garbled \? )?'([a-z-]+)'/g],
]

describe('docs/troubleshooting.md has a row for', () => {
  test('every refusal of the broker', () => missing(Object.keys(PROBLEMS)))
  test('every reason of the injector that needs an action', () =>
    missing(Object.keys(REASONS).filter((reason) => !QUIET.has(reason))))
  test('every warning of the firewall', () => missing(WARNING_CODES))
  test('every refusal of the sidecar', () => missing(Object.keys(REFUSALS)))
  test('every Event', () => {
    const events = [
      ...codesIn('node-guard/broker/audit/events.ts', /^ {2}'[a-z-]+': '([A-Za-z]+)',$/gm),
      ...codesIn('injector/pod-watch/pod.ts', /'([A-Z][a-z]+[A-Z][A-Za-z]+)'/g),
    ]
    assert.ok(events.length >= 8)
    missing(events)
  })
  for (const [file, pattern] of READINESS)
    test(`every readiness code in ${file}`, () => {
      const codes = codesIn(file, pattern)
      assert.ok(codes.length > 0)
      missing(codes)
    })
})

function missing(codes: readonly string[]): void {
  assert.deepEqual(
    codes.filter((code) => !SPANS.has(code)),
    [],
  )
}

/** Names that look like codes but are none. */
const NAMES = new Set(['kube-system', 'pod2iam-gate', 'pod2iam-sidecar', 'pod2iam-node-guard'])

test('every code in docs/troubleshooting.md exists', () => {
  const named = [...SPANS].filter((code) => /^[a-z0-9]+(?:-[a-z0-9]+)+$/.test(code) && !NAMES.has(code))
  assert.ok(named.length > 50)
  const known = new Set([...Object.keys(PROBLEMS), ...Object.keys(REASONS)])
  assert.deepEqual(
    named.filter((code) => !known.has(code) && !SENTENCES.includes(`'${code}'`)),
    [],
  )
})

test('the chart and the programs have the webhook name and the ports of the page', () => {
  assert.match(source('charts/pod2iam/files/webhooks.yaml'), /name: pods\.pod2iam\.dev/)
  for (const port of ['9169', '9170', '9171', '9172', '9173'])
    assert.match(source('common/addresses.ts'), new RegExp(`= ${port}$`, 'm'))
})
