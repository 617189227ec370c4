/** Horizontal bars as an SVG, light and dark. */

export type Bar = {
  readonly name: string
  readonly value: number
  /** A thin line continues to this value, such as the 95th percentile. */
  readonly upTo?: number
  /** A stroke across the bar, such as a limit. */
  readonly target?: number
  /** Bars of pod2iam are green, others grey. */
  readonly ours: boolean
}

export type Bars = {
  readonly title: string
  /** What the figures are, for the line below the title. */
  readonly caption: string
  readonly unit: string
  readonly bars: readonly Bar[]
}

const [WIDTH, ROW, TOP, NAMES, FIGURES] = [760, 28, 62, 250, 130]
const ROOM = WIDTH - NAMES - FIGURES - 16

const STYLE = `
svg { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --ours: #1a7f37; --other: #8c959f; --mark: #9a6700 }
@media (prefers-color-scheme: dark) { svg { --paper: #0d1117; --ink: #e6edf3; --faint: #9198a1; --ours: #3fb950; --other: #656c76; --mark: #d29922 } }
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink) }
.title { font-size: 14px; font-weight: 600 } .faint { fill: var(--faint) } .end { text-anchor: end }
.ours { fill: var(--ours) } .other { fill: var(--other) }
.tail { stroke: var(--faint); stroke-width: 1.5 } .target { stroke: var(--mark); stroke-width: 2 }`

/** The plot as a whole file. */
export function barsSvg({ title, caption, unit, bars }: Bars): string {
  const height = TOP + bars.length * ROW + 12
  const most = Math.max(...bars.flatMap(({ value, upTo = 0, target = 0 }) => [value, upTo, target]))
  const x = (value: number) => fixed(NAMES + (value / most) * ROOM)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}\n</style>`,
    `<rect width="${WIDTH}" height="${height}" rx="8" style="fill: var(--paper)"/>`,
    `<text x="16" y="24" class="title">${escaped(title)}</text>`,
    `<text x="16" y="44" class="faint">${escaped(caption)}</text>`,
    ...bars.flatMap(({ name, value, upTo, target, ours }, index) => {
      const y = TOP + index * ROW
      const middle = y + 9
      const end = Math.max(value, upTo ?? 0, target ?? 0)
      return [
        `<text x="${NAMES - 10}" y="${y + 13}" class="end">${escaped(name)}</text>`,
        `<rect x="${NAMES}" y="${y}" width="${fixed(Math.max((value / most) * ROOM, 1))}" height="18" rx="2" class="${ours ? 'ours' : 'other'}"/>`,
        ...(upTo === undefined
          ? []
          : [
              `<path d="M${x(value)} ${middle}H${x(upTo)}M${x(upTo)} ${middle - 5}V${middle + 5}" class="tail"/>`,
            ]),
        ...(target === undefined ? [] : [`<path d="M${x(target)} ${y - 3}V${y + 21}" class="target"/>`]),
        `<text x="${fixed(Number(x(end)) + 8)}" y="${y + 13}">${figure(value)}${upTo === undefined ? '' : ` … ${figure(upTo)}`} ${unit}</text>`,
      ]
    }),
    '</svg>',
    '',
  ].join('\n')
}

const fixed = (value: number) => String(Math.round(value * 10) / 10)
const figure = (value: number) => value.toLocaleString('en', { maximumFractionDigits: 1 })
const escaped = (words: string) => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
