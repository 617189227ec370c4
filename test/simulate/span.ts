/** When something is not available: spans of simulated time. */

/** From (included) and to, milliseconds. */
export type Span = { readonly from: number; readonly to: number }

/** The span that contains `at`, if one does. */
export const spanAt = (spans: readonly Span[], at: number): Span | undefined =>
  spans.find(({ from, to }) => from <= at && at < to)

/** The first moment from `at` on that no span contains. */
export function firstOutside(spans: readonly Span[], at: number): number {
  const span = spanAt(spans, at)
  return span ? firstOutside(spans, span.to) : at
}

/** Milliseconds between two moments that are in no span; spans may overlap. */
export function outside(spans: readonly Span[], from: number, to: number): number {
  let [total, at] = [0, from]
  for (const span of [...spans].sort((a, b) => a.from - b.from)) {
    total += Math.max(0, Math.min(span.from, to) - at)
    at = Math.max(at, span.to)
  }
  return total + Math.max(0, to - at)
}
