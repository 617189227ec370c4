/** The order of the broker's folders: a step of a request uses only what comes before it (docs/architecture.md). */
import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { test } from 'node:test'
import { PROJECT } from './markdown.ts'
import { source } from './source.ts'

const BROKER = 'node-guard/broker'
/** Each imports only itself and the ones before it. */
const ORDER = ['kubernetes', 'instance', 'authenticate', 'authorize', 'aws', 'sessions', 'audit', 'server']

test('a folder of the broker imports only the folders before it', () => {
  const files = globSync(`${BROKER}/*/**/*.ts`, { cwd: PROJECT })
  const folders = new Set(files.map((file) => file.split('/')[2] ?? ''))
  assert.deepEqual([...folders].sort(), ORDER.toSorted())
  const wrong = files.flatMap((file) => {
    const own = ORDER.indexOf(file.split('/')[2] ?? '')
    const imported = [...source(file).matchAll(/(?:from|import\() ?'\.\.\/([a-z-]+)\//g)]
    return imported
      .filter(([, folder = '']) => ORDER.indexOf(folder) > own)
      .map(([text]) => `${file}: ${text}`)
  })
  assert.deepEqual(wrong, [])
})
