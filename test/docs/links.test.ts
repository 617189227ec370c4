/** Every link inside the repository leads to an existing file and heading. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ALL_PAGES, PAGES, PROJECT, readPage, resolveLink } from './markdown.ts'

for (const { file, links, anchors } of ALL_PAGES)
  test(`${file} has only links to existing files and headings`, () => {
    for (const link of links) {
      if (/^[a-z]+:/.test(link)) continue
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? file : resolveLink(file, path)
      assert.ok(existsSync(join(PROJECT, target)), `${link}: no such file`)
      if (anchor === undefined) continue
      const there = path === '' ? anchors : readPage(target).anchors
      assert.ok(there.has(anchor), `${link}: no such heading`)
    }
  })

test('the index of docs/ links to every page', () => {
  const index = readPage('docs/README.md')
  const linked = new Set(index.links.map((link) => resolveLink(index.file, link)))
  const missing = PAGES.map(({ file }) => file).filter(
    (file) => file.startsWith('docs/') && !linked.has(file),
  )
  assert.deepEqual(missing, ['docs/README.md'])
})
