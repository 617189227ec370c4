/** Figures of a bench, and how they are printed. */

export type Figure = {
  /** What was measured, unique in a report. */
  readonly name: string
  /** Undefined if it could not be measured here; `note` says why. */
  readonly value: number | undefined
  readonly unit: string
  /** The highest value that meets the target. */
  readonly target?: number
  readonly note?: string
}

/** Measures a component; `tell` receives progress, `asked` says which parts are to be measured. */
export type Bench = (
  tell: (what: string) => void,
  asked: (part: string) => boolean,
) => Promise<readonly Figure[]>

/** The figures as a Markdown table, with `met` or `missed` if there is a target. */
export function tableOf(figures: readonly Figure[]): string {
  const rows = figures.map(({ name, value, unit, target, note = '' }) => [
    name,
    value === undefined ? 'not measured' : `${rounded(value)} ${unit}`.trim(),
    target === undefined ? '' : `≤ ${target}: ${verdict(value, target)}`,
    note,
  ])
  return [['figure', 'value', 'target', ''], ['---', '---', '---', '---'], ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')
}

function verdict(value: number | undefined, target: number): string {
  if (value === undefined) return 'not measured'
  return value <= target ? 'met' : 'missed'
}

/** Two digits after the point below 10, one below 100, none from 100 on. */
function rounded(value: number): string {
  if (Number.isInteger(value)) return String(value)
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)
}

/** The quantile `share` (0 to 1): that share of all values lies below it. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

export const median = (values: readonly number[]): number => quantile(values, 0.5)
