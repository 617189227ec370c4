/** The recorded demo: everything that was printed, at its time, and the file that the README shows. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { recordingSvg } from './recording.ts'
import { PROJECT } from './stage.ts'

const lines = [
  { at: 100, text: 'begins' },
  { at: 150, text: '' },
  { at: 150, text: '\u001b[1m1. A step\u001b[0m' },
  { at: 160, text: '  \u001b[36m$ diff <(a) <(b) && true\u001b[0m' },
  { at: 9000, text: '  \u001b[32m✔\u001b[0m it "shows"' },
]
const svg = recordingSvg({ command: 'npm run demo', lines })

/** The beginning of each frame, in percent of the whole time. */
const framesOf = (text: string) =>
  [...(/@keyframes lines \{\n([\s\S]*?)\n\}\n/.exec(text)?.[1] ?? '').matchAll(/^([\d.]+)%/gm)].map(
    ([, share]) => Number(share),
  )

test('the picture contains every line with its colours and escapes markup in it', () => {
  for (const text of ['begins', '<tspan class="b">1. A step</tspan>', '&lt;(a) &lt;(b) &amp;&amp; true'])
    assert.ok(svg.includes(text), text)
  assert.ok(!svg.includes('\u001b'))
})

test('the picture has a frame for each line, in their order, and keeps a pause of the run', () => {
  const frames = framesOf(svg)
  assert.equal(frames.length, lines.length + 2)
  assert.deepEqual(
    frames.toSorted((a, b) => a - b),
    frames,
  )
  const total = Number(/animation: lines ([\d.]+)s/.exec(svg)?.[1])
  const [before = 0, last = 0] = frames.slice(-2)
  assert.ok(((last - before) / 100) * total >= 8.8, `${((last - before) / 100) * total} s`)
})

test('the first frame shows the end of the run, and the second an empty terminal', () => {
  const offsets = [...svg.matchAll(/^[\d.]+% \{ transform: translateY\((-?\d+)px\) \}$/gm)].map(
    ([, offset]) => Number(offset),
  )
  const frames = offsets.slice(0, lines.length + 2)
  assert.equal(frames[0], frames.at(-1))
  assert.ok((frames[1] ?? 0) > (frames[2] ?? 0), 'the next line moves the others up')
})

test('the clock shows the time of the run', () => {
  for (const time of ['0.0 s', '0.1 s', '9.0 s']) assert.ok(svg.includes(`>${time}</text>`), time)
})

test('the picture shows the end of the run if reduced motion is preferred, and has both colour schemes', () => {
  assert.match(svg, /prefers-reduced-motion: reduce\) \{ \.lines, \.clock \{ animation: none/)
  assert.match(svg, /prefers-color-scheme: dark/)
})

test('a recording without lines is refused', () => {
  assert.throws(() => recordingSvg({ command: 'npm run demo', lines: [] }), /nothing was recorded/)
})

test('the picture of the README shows a complete run, is small, and loads nothing', () => {
  const picture = readFileSync(`${PROJECT}docs/images/demo.svg`, 'utf8')
  assert.ok(picture.length <= 200 * 1024, `${picture.length} bytes`)
  for (const step of [1, 2, 3, 4, 5, 6]) assert.match(picture, new RegExp(`>${step}\\. `))
  assert.match(picture, /Everything shown: (\d+) of \1, in [\d.]+ s\./)
  assert.match(picture, /guard\.ownedTable: rules stay +\d+ +0 +0 ms/)
  assert.doesNotMatch(picture, /<script|href|@import|url\((?!#)/)
  for (const [, secret = ''] of picture.matchAll(/"(?:SecretAccessKey|Token)" : "([^"]*)"/g))
    assert.match(secret, /^.{6}…$/)
})
