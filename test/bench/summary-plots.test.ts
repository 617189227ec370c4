/** The plots of docs/benchmarks.md show the figures of its tables. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { PROJECT } from '../docs/markdown.ts'
import { barsSvg } from '../support/bars.ts'
import { summaryPlots } from './summary-plots.ts'

const plots = summaryPlots()

for (const [name, svg] of Object.entries(plots))
  test(`docs/plots/${name} shows the current figures of the page (npm run bench -- --plot)`, () => {
    assert.doesNotMatch(svg, /NaN|Infinity|undefined/)
    assert.equal(readFileSync(`${PROJECT}docs/plots/${name}`, 'utf8'), svg)
  })

test('the plot of the start has a bar for every row of its table, with kube2iam and plain pods in another colour', () => {
  const svg = plots['summary-start.svg'] ?? ''
  assert.ok((svg.match(/<rect [^>]*class="(?:ours|other)"/g) ?? []).length >= 4)
  assert.match(svg, />plain pod(?: \(1\.37\.2\))?<[\s\S]*?class="other"[\s\S]*?>223 … 284 ms</)
  assert.match(svg, />pod2iam, mode nft(?: \(1\.37\.2\))?<[\s\S]*?class="ours"[\s\S]*?>1,653 … 1,855 ms</)
})

test('the length of a bar is proportional to its value', () => {
  const svg = barsSvg({
    title: 'a < b',
    caption: '',
    unit: 'ms',
    bars: [
      { name: 'all', value: 50, upTo: 100, ours: true },
      { name: 'half', value: 25, ours: false },
    ],
  })
  const widths = [...svg.matchAll(/width="([\d.]+)" height="18"/g)].map(([, width]) => Number(width))
  assert.equal(widths[0], (widths[1] ?? 0) * 2)
  assert.match(svg, /<title>a &lt; b<\/title>/)
})

test('npm run bench -- --plot writes the plots and measures nothing', () => {
  const directory = mkdtempSync(join(tmpdir(), 'plots-'))
  try {
    const bench = join(PROJECT, 'test/bench/main.ts')
    const { status, stderr } = spawnSync(process.execPath, [bench, '--plot', directory], { encoding: 'utf8' })
    assert.deepEqual([status, stderr], [0, ''])
    assert.deepEqual(readdirSync(directory).sort(), Object.keys(plots).sort())
  } finally {
    rmSync(directory, { recursive: true })
  }
})
