type Settle<T> = Pick<PromiseWithResolvers<T>, 'resolve' | 'reject'>

/**
 * A promise that somebody settles in time, or else `late` does. Its timer ends with it.
 *
 * @param late called after so many milliseconds
 */
export function timedPromise<T>(
  milliseconds: number,
  late: (settle: Settle<T>) => void,
): PromiseWithResolvers<T> {
  const settle = Promise.withResolvers<T>()
  const timer = setTimeout(late, milliseconds, settle)
  const clear = () => clearTimeout(timer)
  settle.promise.then(clear, clear)
  return settle
}
