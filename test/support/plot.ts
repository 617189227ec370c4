/** Curves as an SVG, light and dark, with axes, labels and a legend. */
type PlotCurve = { readonly name: string; readonly values: readonly number[]; readonly color: string }

export type Plot = {
  readonly title: string
  readonly unit: string
  /** Minutes between two values; or the position of each value on an axis of its own. */
  readonly step: number | { readonly name: string; readonly at: readonly number[] }
  readonly curves: readonly PlotCurve[]
  /** A level to compare with. */
  readonly level?: { readonly name: string; readonly value: number }
  /** Top of the axis if it is known, such as 100 for percent. */
  readonly top?: number
  /** Spans of minutes to shade, and what they are. */
  readonly shaded?: { readonly name: string; readonly from: number; readonly to: number }
}

const [WIDTH, HEIGHT] = [760, 300]
const BOX = { left: 64, right: 16, top: 56, bottom: 44 }
const INSIDE = { width: WIDTH - BOX.left - BOX.right, height: HEIGHT - BOX.top - BOX.bottom }
const [INK, GRID, SHADE, LEVEL] = ['#333333', '#e2e2e2', '#f3ead7', '#9a6700']

/** Curves keep their colours, which differ enough on both backgrounds. */
const DARK =
  `@media (prefers-color-scheme: dark) { [fill="#ffffff"] { fill: #0d1117 } [fill="${INK}"] { fill: #e6edf3 } [stroke="${INK}"] { stroke: #9198a1 } ` +
  `[stroke="${GRID}"] { stroke: #30363d } [fill="${SHADE}"] { fill: #2d2410 } [fill="${LEVEL}"] { fill: #d29922 } [stroke="${LEVEL}"] { stroke: #d29922 } }`

/** The plot as a whole file. */
export function svg(plot: Plot): string {
  const { title, unit, step, curves, level, shaded } = plot
  const longest = Math.max(...curves.map(({ values }) => values.length))
  const over =
    typeof step === 'number'
      ? { name: 'minutes', at: Array.from({ length: longest }, (_, index) => index * step) }
      : step
  const end = Math.max(...over.at)
  const highest = Math.max(level?.value ?? 0, ...curves.flatMap(({ values }) => values))
  const top = plot.top ?? roundUp(highest)
  const x = (at: number) => BOX.left + (at / end) * INSIDE.width
  const y = (value: number) => BOX.top + (1 - value / top) * INSIDE.height
  const bottom = BOX.top + INSIDE.height
  const parts: string[] = []
  if (shaded) {
    const width = x(shaded.to) - x(shaded.from)
    parts.push(
      `<rect x="${fixed(x(shaded.from))}" y="${BOX.top}" width="${fixed(width)}" height="${INSIDE.height}" fill="${SHADE}"/>`,
      text(x(shaded.from) + 6, BOX.top + 14, shaded.name, 'start', LEVEL),
    )
  }
  for (const value of ticks(top, 5)) {
    parts.push(line(BOX.left, y(value), BOX.left + INSIDE.width, y(value), GRID))
    parts.push(text(BOX.left - 8, y(value) + 4, number(value), 'end'))
  }
  for (const at of ticks(end, 8)) {
    parts.push(line(x(at), bottom, x(at), bottom + 4, INK))
    parts.push(text(x(at), bottom + 18, number(at), 'middle'))
  }
  parts.push(text(BOX.left + INSIDE.width / 2, HEIGHT - 8, over.name, 'middle'))
  parts.push(line(BOX.left, bottom, BOX.left + INSIDE.width, bottom, INK))
  if (level) {
    parts.push(line(BOX.left, y(level.value), BOX.left + INSIDE.width, y(level.value), LEVEL, '6 4'))
    parts.push(text(BOX.left + INSIDE.width, y(level.value) - 5, level.name, 'end', LEVEL))
  }
  for (const { values, color } of curves) {
    const points = values.map(
      (value, index) => `${fixed(x(over.at[index] ?? 0))},${fixed(y(Math.min(value, top)))}`,
    )
    parts.push(`<polyline points="${points.join(' ')}" fill="none" stroke="${color}" stroke-width="1.8"/>`)
  }
  let legend = BOX.left
  for (const { name, color } of curves) {
    parts.push(`<rect x="${legend}" y="34" width="14" height="4" fill="${color}"/>`)
    parts.push(text(legend + 20, 40, name, 'start'))
    legend += 32 + name.length * 6.2
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="system-ui, sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    `<style>${DARK}</style>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    `<text x="${BOX.left}" y="20" font-size="14" font-weight="600" fill="${INK}">${escaped(title)}</text>`,
    text(WIDTH - BOX.right, 20, unit, 'end'),
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

function text(x: number, y: number, content: string, anchor: string, color = INK): string {
  return `<text x="${fixed(x)}" y="${fixed(y)}" text-anchor="${anchor}" fill="${color}">${escaped(content)}</text>`
}

function line(x1: number, y1: number, x2: number, y2: number, color: string, dashes?: string): string {
  const dashed = dashes === undefined ? '' : ` stroke-dasharray="${dashes}"`
  return `<line x1="${fixed(x1)}" y1="${fixed(y1)}" x2="${fixed(x2)}" y2="${fixed(y2)}" stroke="${color}"${dashed}/>`
}

const fixed = (value: number) => String(Math.round(value * 10) / 10)
const number = (value: number) =>
  value >= 10_000 ? `${value / 1000}k` : String(Math.round(value * 100) / 100)
const escaped = (words: string) => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

/** Round values from 0 to `top`, about as many as requested. */
function ticks(top: number, about: number): number[] {
  const step = roundUp(top / about)
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, index) => index * step)
}

/** The next of 1, 2, 2.5, 5 times a power of ten. */
function roundUp(value: number): number {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  const factor = [1, 2, 2.5, 5, 10].find((one) => one * power >= value * (1 - 1e-9)) ?? 10
  return factor * power
}
