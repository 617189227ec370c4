/** What Artifact Hub and `helm show chart` read: it belongs to this release, and its files and images exist. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { PROJECT } from '../docs/markdown.ts'
import { CHART, needsHelm, objectsOf, template } from './helm.ts'

type Chart = {
  readonly version: string
  readonly home: string
  readonly icon: string
  readonly annotations: Readonly<Record<string, string>>
}

const CHART_FILE: Chart = parse(readFileSync(`${CHART}/Chart.yaml`, 'utf8'))
const annotation = (name: string) => parse(CHART_FILE.annotations[`artifacthub.io/${name}`] ?? '')

test('links lead to this release, and to files in it', () => {
  const { home, icon, version } = CHART_FILE
  const links: { name: string; url: string }[] = annotation('links')
  const urls = [icon, ...links.filter(({ name }) => name !== 'support').map(({ url }) => url)]
  for (const url of urls) {
    const [, tag = '', path = ''] = /\/(?:blob\/)?v([^/]+)\/(.+)$/.exec(url) ?? []
    assert.equal(tag, version, url)
    assert.ok(existsSync(join(PROJECT, path)), url)
  }
  for (const { url } of links) assert.ok(url.startsWith(`${home}/`), url)
})

test('the icon is an SVG that loads and executes nothing', () => {
  const svg = readFileSync(`${CHART}/icon.svg`, 'utf8')
  assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 128 128"/)
  assert.match(svg, /<title id="title">pod2iam/)
  assert.doesNotMatch(svg, /script|href|url\(|on\w+=|<!ENTITY/i)
  assert.ok(svg.length < 4096)
  const opened = [...svg.matchAll(/<([a-z]+)\b[^>]*[^/]>/g)].map(([, name]) => name)
  const closed = [...svg.matchAll(/<\/([a-z]+)>/g)].map(([, name]) => name)
  assert.deepEqual(opened.sort(), closed.sort())
})

describe('the images', needsHelm, () => {
  test('that Artifact Hub scans are those that the chart installs', () => {
    const images: { image: string }[] = annotation('images')
    const text = JSON.stringify(objectsOf(template('default')))
    for (const { image } of images) assert.ok(text.includes(image), image)
    const used = new Set(text.match(/ghcr\.io\/[\w./-]+:[\w.]+/g))
    assert.deepEqual([...used].sort(), images.map(({ image }) => image).sort())
  })
})
