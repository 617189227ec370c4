/** When something is away: spans of simulated time. */

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
