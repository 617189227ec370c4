/** The pictures on the pages are small, readable on light and dark pages, described, and self-contained. */
import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { test } from 'node:test'
import { ALL_PAGES, PROJECT, resolveLink } from './markdown.ts'
import { source } from './source.ts'

const PICTURES = globSync('docs/**/*.svg', { cwd: PROJECT }).sort()

test('every picture is used by a page', () => {
  assert.ok(PICTURES.length >= 14, String(PICTURES.length))
  const linked = new Set(ALL_PAGES.flatMap(({ file, links }) => links.map((link) => resolveLink(file, link))))
  assert.deepEqual(
    PICTURES.filter((file) => !linked.has(file)),
    [],
  )
})

for (const file of PICTURES) {
  const svg = source(file)

  test(`${file} is small, has a title and a dark form, and loads nothing`, () => {
    assert.match(
      svg,
      /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 \d+ \d+" width="\d+" height="\d+"/,
    )
    assert.match(svg, /<title>[^<]+<\/title>/)
    assert.match(svg, /@media \(prefers-color-scheme: dark\)/)
    assert.doesNotMatch(svg, /<(?:script|image|foreignObject|use)|href=|@import|url\((?!#)/)
    assert.ok(svg.length <= 200 * 1024)
  })

  test(`${file} closes every tag`, () => {
    const open: string[] = []
    const tags = svg
      .replace(/<style>[\s\S]*?<\/style>/g, '')
      .matchAll(/<(\/?)([A-Za-z]+)((?:[^<>"]|"[^"]*")*?)(\/?)>/g)
    for (const [, end, name = '', , alone] of tags) {
      if (end === '/') assert.equal(open.pop(), name)
      else if (alone !== '/') open.push(name)
    }
    assert.deepEqual(open, [])
    assert.doesNotMatch(svg.replace(/&(?:amp|lt|gt|quot);/g, ''), /&/, 'entities')
  })
}

test('every picture on a page has an alternative text', () => {
  for (const { file, prose } of ALL_PAGES)
    for (const [, words = ''] of prose.matchAll(/!\[([^\]]*)\]\(/g))
      assert.ok(words.length > 10, `${file}: "${words}"`)
})
