import { stripVTControlCharacters } from 'node:util'
import Table from 'cli-table3'
import wrapAnsi from 'wrap-ansi'
import type { Page } from '../outcome.ts'

const GAP = 2
/** The minimum width of a column. */
const LEAST = 8

const NO_LINES = {
  ...{ top: '', 'top-mid': '', 'top-left': '', 'top-right': '' },
  ...{ bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '' },
  ...{ left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '' },
  middle: ' '.repeat(GAP),
}

/**
 * A table in the style of kubectl, no wider than the page: the widest columns are wrapped if necessary.
 *
 * @param head titles of the columns
 * @returns lines, each with a line feed
 */
export function table(head: readonly string[], rows: readonly (readonly string[])[], page: Page): string {
  const titles = head.map((title) => page.paint('dim', title))
  const all = [titles, ...rows]
  const widths = fitted(
    head.map((_, column) => Math.max(1, ...all.map((row) => widthOf(row[column] ?? '')))),
    page.width,
  )
  const made = new Table({
    chars: NO_LINES,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colWidths: widths,
  })
  for (const row of all) made.push(widths.map((width, column) => wrapped(row[column] ?? '', width)))
  return `${made.toString().replace(/ +$/gm, '')}\n`
}

/** Wraps words into lines of limited width; a longer word is broken. */
export function wrapped(text: string, width: number): string {
  return wrapAnsi(text, width, { hard: true })
}

/** An indented paragraph. */
export function indented(text: string, margin: number, page: Page): string {
  return wrapped(text, Math.max(LEAST, page.width - margin)).replace(/^/gm, ' '.repeat(margin))
}

const widthOf = (cell: string) =>
  Math.max(0, ...cell.split('\n').map((line) => stripVTControlCharacters(line).length))

/** Reduces the widest column until the table fits. */
function fitted(natural: readonly number[], width: number): number[] {
  const widths = [...natural]
  const most = width - GAP * (widths.length - 1)
  let sum = widths.reduce((total, one) => total + one, 0)
  while (sum > most) {
    const widest = widths.indexOf(Math.max(...widths))
    const one = widths[widest] ?? 0
    if (one <= LEAST) break
    widths[widest] = one - 1
    sum--
  }
  return widths
}
