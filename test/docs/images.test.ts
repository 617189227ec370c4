/** The pictures of the pages: small, readable on light and dark pages, described, and complete in themselves. */
import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { test } from 'node:test'
import { ALL_PAGES, PROJECT, resolveLink } from './markdown.ts'
import { source } from './source.ts'

const PICTURES = globSync('docs/**/*.svg', { cwd: PROJECT }).sort()

test('there are pictures, and each is shown by a page', () => {
  assert.ok(PICTURES.length >= 14, String(PICTURES.length))
  const linked = new Set(ALL_PAGES.flatMap(({ file, links }) => links.map((link) => resolveLink(file, link))))
  assert.deepEqual(
    PICTURES.filter((file) => !linked.has(file)),
    [],
  )
})

for (const file of PICTURES) {
  const svg = source(file)

  test(`${file} has a title, a dark form, and needs nothing from elsewhere`, () => {
    assert.match(
      svg,
      /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 \d+ \d+" width="\d+" height="\d+"/,
    )
    assert.match(svg, /<title>[^<]+<\/title>/)
    assert.match(svg, /@media \(prefers-color-scheme: dark\)/)
    assert.doesNotMatch(svg, /<(?:script|image|foreignObject|use)|href=|@import|url\((?!#)/)
    assert.ok(svg.length <= 200 * 1024)
  })

  test(`${file} closes what it opens`, () => {
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

test('every picture of a page has a description for who does not see it', () => {
  for (const { file, prose } of ALL_PAGES)
    for (const [, words = ''] of prose.matchAll(/!\[([^\]]*)\]\(/g))
      assert.ok(words.length > 10, `${file}: "${words}"`)
})
