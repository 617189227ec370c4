/**
 * What helm renders for every set of values. `UPDATE_GOLDEN=1 node --test test/chart/golden.test.ts` writes golden/ again;
 * read the diff. The files of `default` and `sandbox` are complete, the others contain only the difference from `default`.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { CHART, flagsOf, helm, needsHelm, render, SETS, template } from './helm.ts'

const GOLDEN = new URL('golden/', import.meta.url)
const WHOLE = ['default', 'sandbox']

describe('the chart', needsHelm, () => {
  for (const set of SETS) {
    test(`passes lint with the values ${set}`, () => {
      const [, values = '', ...capabilities] = flagsOf(set)
      const version = capabilities.find((flag) => flag.startsWith('--kube-version')) ?? ''
      assert.match(helm('lint', '--strict', CHART, '--values', values, version), / 0 chart\(s\) failed/)
    })

    test(`renders ${set} as its golden file says`, () => {
      const text = template(set)
      const [name, actual] = WHOLE.includes(set) ? [`${set}.yaml`, text] : [`${set}.diff`, fromDefault(text)]
      const file = new URL(name, GOLDEN)
      if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, actual)
      assert.equal(actual, readFileSync(file, 'utf8'), 'UPDATE_GOLDEN=1 writes it again')
    })
  }

  test('renders the same twice, even as an upgrade, since it uses no random values and no look-ups', () => {
    for (const again of [render('everything'), render('everything', '--is-upgrade')])
      assert.equal(again, template('everything'))
  })
})

/** A unified diff from the objects of the default values, without diff's header of file names and times. */
function fromDefault(text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-chart-'))
  try {
    writeFileSync(join(directory, 'default'), template('default'))
    writeFileSync(join(directory, 'set'), text)
    const { stdout, error } = spawnSync('diff', ['-U1', 'default', 'set'], {
      cwd: directory,
      encoding: 'utf8',
    })
    if (error) throw error
    return stdout.split('\n').slice(2).join('\n')
  } finally {
    rmSync(directory, { recursive: true })
  }
}
