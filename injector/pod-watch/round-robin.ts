/** Namespaces take turns: many findings of one must not delay those of others. Pure. */

/**
 * Orders elements so that one of every namespace comes first, then a second of every namespace, and so on.
 *
 * @param all in the wanted order within each namespace
 * @param lastTurn when each namespace had its last turn; one without an entry comes first
 */
export function roundRobin<T extends { readonly namespace: string }>(
  all: Iterable<T>,
  lastTurn: ReadonlyMap<string, number>,
): T[] {
  const queues = Map.groupBy(all, ({ namespace }) => namespace)
  const last = (namespace: string) => lastTurn.get(namespace) ?? Number.NEGATIVE_INFINITY
  // Not by subtraction: the difference of two infinities is NaN.
  const names = [...queues.keys()].sort((a, b) => (last(a) === last(b) ? 0 : last(a) < last(b) ? -1 : 1))
  const rounds: T[][] = []
  for (const name of names)
    for (const [round, one] of (queues.get(name) ?? []).entries()) {
      rounds[round] ??= []
      rounds[round]?.push(one)
    }
  return rounds.flat()
}
