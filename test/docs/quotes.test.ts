/** Troubleshooting: what it quotes is said, and every code that can be met has its row. */
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

/** Texts in double quotes, outside code spans. */
const QUOTES = [...PAGE.prose.replace(/`[^`\n]*`/g, '').matchAll(/"([^"\n]+)"/g)].map(
  ([, quote = '']) => quote,
)

test('there are quotes to look up', () => {
  assert.ok(QUOTES.length > 45, String(QUOTES.length))
})

for (const quote of new Set(QUOTES))
  test(`a program says "${quote}"`, () => {
    for (const part of quote.split('…').map((text) => text.trim()))
      assert.ok(isSaid(part), `no source has ${JSON.stringify(part)}`)
  })

function isSaid(part: string): boolean {
  // What the gate waits for is put in.
  const [, step] = /^waiting for (the .+)$/.exec(part) ?? []
  const composed =
    step !== undefined && SENTENCES.includes('`waiting for …`') && SENTENCES.includes(`'${step}'`)
  return composed || SENTENCES.includes(part) || ALTERNATIVES.includes(part)
}

/** Reasons that nobody has to do anything about, and those that are Events. */
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

describe('every code has its row:', () => {
  test('refusals of the broker', () => missing(Object.keys(PROBLEMS)))
  test('reasons of the injector', () => missing(Object.keys(REASONS).filter((reason) => !QUIET.has(reason))))
  test('warnings of the firewall', () => missing(WARNING_CODES))
  test('refusals of the sidecar', () => missing(Object.keys(REFUSALS)))
  test('Events', () => {
    const events = [
      ...codesIn('node-guard/broker/audit/events.ts', /^ {2}'[a-z-]+': '([A-Za-z]+)',$/gm),
      ...codesIn('injector/pod-watch/pod.ts', /'([A-Z][a-z]+[A-Z][A-Za-z]+)'/g),
    ]
    assert.ok(events.length >= 8)
    missing(events)
  })
  for (const [file, pattern] of READINESS)
    test(`what ${file} says of readiness`, () => {
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

/** Names that look like codes and are none of ours. */
const NAMES = new Set(['kube-system', 'pod2iam-gate', 'pod2iam-sidecar', 'pod2iam-node-guard'])

test('every code that has a row exists', () => {
  const told = [...SPANS].filter((code) => /^[a-z0-9]+(?:-[a-z0-9]+)+$/.test(code) && !NAMES.has(code))
  assert.ok(told.length > 50)
  const known = new Set([...Object.keys(PROBLEMS), ...Object.keys(REASONS)])
  assert.deepEqual(
    told.filter((code) => !known.has(code) && !SENTENCES.includes(`'${code}'`)),
    [],
  )
})

test('the names of webhook and ports are those of the chart and the programs', () => {
  assert.match(source('charts/pod2iam/files/webhooks.yaml'), /name: pods\.pod2iam\.dev/)
  for (const port of ['9169', '9170', '9171', '9172', '9173'])
    assert.match(source('common/addresses.ts'), new RegExp(`= ${port}$`, 'm'))
})
