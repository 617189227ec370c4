/**
 * Names of files in code spans of pages, and in comments of sources, are those of files that exist. A name may leave out
 * the folders above it.
 */
import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { test } from 'node:test'
import { ALL_PAGES, codeSpans, PROJECT } from './markdown.ts'
import { source } from './source.ts'

const FOLDERS = '{charts,cli,common,docs,examples,injector,node-guard,sidecar,test}'
const FILES = globSync([`${FOLDERS}/**/*`, '*'], {
  cwd: PROJECT,
  exclude: (name) => name === 'node_modules',
})
const SOURCES = FILES.filter((file) => file.endsWith('.ts'))

/** A file that has a name of ours: a script, or a page with its folder. */
const NAME = /(?<![\w./*{}…-])(?:[\w.-]+\/)*[\w.-]+\.ts\b(?!\.)|(?<![\w./*{}…-])docs\/[\w./-]+\.md\b/g

const ENDINGS = new Set(
  FILES.flatMap((file) => {
    const parts = file.split('/')
    return parts.map((_, index) => parts.slice(index).join('/'))
  }),
)

const missingIn = (texts: readonly string[]) =>
  texts
    .flatMap((text) => text.match(NAME) ?? [])
    .filter((name) => !ENDINGS.has(name.replace(/^(?:\.{1,2}\/)+/, '')))

const commentsOf = (text: string) => text.match(/^\s*(?:\/\/|\/?\*).*$/gm) ?? []

for (const { file, prose } of ALL_PAGES)
  test(`${file}: the files in code spans exist`, () => {
    assert.deepEqual(missingIn(codeSpans(prose)), [])
  })

test('the files that comments name exist', () => {
  const missing = SOURCES.flatMap((file) =>
    missingIn(commentsOf(source(file))).map((name) => `${file}: ${name}`),
  )
  assert.deepEqual(missing, [])
})
