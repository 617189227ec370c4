/** Runs `work` one at a time: a call while it is under way gets the same result. */
export function singleFlight<A extends unknown[], T>(
  work: (...args: A) => Promise<T>,
): (...args: A) => Promise<T> {
  let underWay: Promise<T> | undefined
  return (...args) => {
    underWay ??= work(...args).finally(() => {
      underWay = undefined
    })
    return underWay
  }
}
