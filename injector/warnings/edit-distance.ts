/**
 * How many letters must be inserted, deleted, replaced or swapped with their neighbour to turn one word into the other ("optimal
 * string alignment"), up to `max`; beyond it the answer is `max + 1`. Costs at most the product of both lengths, and nothing where
 * these differ by more than `max`.
 */
export function editDistance(a: string, b: string, max: number): number {
  if (a === b) return 0
  if (Math.abs(a.length - b.length) > max) return max + 1
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++)
      current.push(cell(a, b, row, column, { beforeLast, last, current }))
    if (Math.min(...current) > max) return max + 1
    ;[beforeLast, last] = [last, current]
  }
  return Math.min(last[b.length] ?? max + 1, max + 1)
}

type Rows = {
  readonly beforeLast: readonly number[]
  readonly last: readonly number[]
  readonly current: readonly number[]
}

function cell(a: string, b: string, row: number, column: number, rows: Rows): number {
  const at = (list: readonly number[], index: number) => list[index] ?? Number.POSITIVE_INFINITY
  const replaced = at(rows.last, column - 1) + (a[row - 1] === b[column - 1] ? 0 : 1)
  const isSwap = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
  const swapped = isSwap ? at(rows.beforeLast, column - 2) + 1 : Number.POSITIVE_INFINITY
  return Math.min(replaced, at(rows.last, column) + 1, at(rows.current, column - 1) + 1, swapped)
}
