/** A run of the demo as an animated SVG: a terminal through which its lines scroll, and a clock that shows the run's own time. */

/** A line as the demo printed it, including colours, and its time in milliseconds since the start. */
export type RecordedLine = { readonly at: number; readonly text: string }

export type Recording = { readonly command: string; readonly lines: readonly RecordedLine[] }

const [COLUMNS, ROWS] = [80, 30]
/** In the fonts below, the width of a character is 0.6 of its size. */
const [FONT, LINE, CHARACTER] = [13, 18, 7.83]
const [PAD, BAR] = [16, 34]
const WIDTH = Math.ceil(COLUMNS * CHARACTER + 2 * PAD)
const HEIGHT = BAR + ROWS * LINE + PAD

/** The least time before the next line, in milliseconds, since a run prints most of its lines faster than anybody can read. */
const READING = { line: 220, blank: 60, step: 1500, end: 4000 }
/** The time for which the end of the run is shown first, so that a picture that does not move yet is not empty. */
const POSTER = 2500

const CLASSES: Readonly<Record<string, string>> = { 1: 'b', 31: 'r', 32: 'g', 33: 'y', 36: 'c' }

const STYLE = `
svg { --paper: #ffffff; --bar: #eaeef2; --ink: #1f2328; --faint: #59636e; --edge: #d1d9e0; --g: #1a7f37; --r: #cf222e; --y: #9a6700; --c: #0550ae }
@media (prefers-color-scheme: dark) {
  svg { --paper: #0d1117; --bar: #21262d; --ink: #e6edf3; --faint: #9198a1; --edge: #3d444d; --g: #3fb950; --r: #f85149; --y: #d29922; --c: #79c0ff }
}
text { font: ${FONT}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: var(--ink); white-space: pre }
.b { font-weight: 600 } .g { fill: var(--g) } .r { fill: var(--r) } .y { fill: var(--y) } .c { fill: var(--c) } .faint { fill: var(--faint) }`
/** This rule must be the last one to take effect. */
const STILL = '@media (prefers-reduced-motion: reduce) { .lines, .clock { animation: none } }'

/**
 * The recording as a complete SVG file for light and dark pages. Where nothing is animated, it shows the end of the run.
 *
 * @throws Error if there are no lines
 */
export function recordingSvg({ command, lines }: Recording): string {
  const last = lines.at(-1)
  if (last === undefined) throw new Error('nothing was recorded')
  const shown = showTimes(lines)
  const total = POSTER + (shown.at(-1) ?? 0) + READING.end
  const frames = (offset: (count: number) => number) =>
    [
      `0% { transform: translateY(${offset(lines.length)}px) }`,
      ...[0, ...shown].map(
        (at, count) => `${percent((POSTER + at) / total)} { transform: translateY(${offset(count)}px) }`,
      ),
    ].join('\n')
  const seconds = (at: number) => `${(at / 1000).toFixed(1)} s`
  const animation = (name: string) => `animation: ${name} ${(total / 1000).toFixed(2)}s step-end infinite`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">`,
    `<title>${escaped(command)}, recorded: ${seconds(last.at)}</title>`,
    `<style>${STYLE}`,
    `.lines { transform: translateY(${(ROWS - lines.length) * LINE}px); ${animation('lines')} }`,
    `.clock { transform: translateY(${-lines.length * LINE}px); ${animation('clock')} }`,
    `@keyframes lines {\n${frames((count) => (ROWS - count) * LINE)}\n}`,
    `@keyframes clock {\n${frames((count) => -count * LINE)}\n}`,
    STILL,
    '</style>',
    `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${HEIGHT - 1}" rx="8" style="fill: var(--paper); stroke: var(--edge)"/>`,
    `<path d="M0.5 ${BAR}V8.5a8 8 0 0 1 8-8H${WIDTH - 8.5}a8 8 0 0 1 8 8V${BAR}z" style="fill: var(--bar); stroke: var(--edge)"/>`,
    `<text x="${PAD}" y="22" class="b">$ ${escaped(command)}</text>`,
    `<clipPath id="screen"><rect x="0" y="${BAR + 1}" width="${WIDTH}" height="${ROWS * LINE + 5}"/></clipPath>`,
    `<clipPath id="dial"><rect x="0" y="6" width="${WIDTH}" height="${LINE}"/></clipPath>`,
    `<g clip-path="url(#dial)"><g class="clock">`,
    ...[{ at: 0 }, ...lines].map(
      ({ at }, index) =>
        `<text x="${WIDTH - PAD}" y="${22 + index * LINE}" text-anchor="end" class="faint">${seconds(at)}</text>`,
    ),
    '</g></g>',
    `<g clip-path="url(#screen)"><g class="lines">`,
    ...lines.flatMap(({ text }, index) => lineOf(text, BAR + (index + 1) * LINE)),
    '</g></g>',
    '</svg>',
    '',
  ].join('\n')
}

/** The time at which each line is shown: not before its own time, and not before the previous line could be read. */
function showTimes(lines: readonly RecordedLine[]): number[] {
  let [free, late] = [0, 0]
  return lines.map(({ at, text }, index) => {
    // A pause of the run does not get longer by the reading time before it.
    const begins = Math.max(at + late, free)
    late = begins - at
    const isEndOfStep = lines[index + 1]?.text === '' && /^\u001b\[1m\d/.test(lines[index + 2]?.text ?? '')
    free = begins + (text === '' ? READING.blank : isEndOfStep ? READING.step : READING.line)
    return begins
  })
}

function lineOf(text: string, y: number): string[] {
  if (text === '') return []
  return [`<text x="${PAD}" y="${y}">${spans(text)}</text>`]
}

/** A line with its ANSI colours as spans. */
function spans(text: string): string {
  const [plain = '', ...colored] = text.split('\u001b[')
  let spans = escaped(plain)
  for (const part of colored) {
    const [, code = '', rest = ''] = /^(\d+)m([\s\S]*)$/.exec(part) ?? []
    const name = CLASSES[code]
    spans += name === undefined ? escaped(rest) : `<tspan class="${name}">${escaped(rest)}</tspan>`
  }
  return spans
}

const percent = (share: number) => `${(share * 100).toFixed(2)}%`
const escaped = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
