/**
 * Runs `work` one at a time: any number of triggers during a run cause one more run after it, with the argument of the
 * first of them. `work` must not throw.
 */
export function coalesce<T>(work: (argument: T) => Promise<void>): (argument: T) => Promise<void> {
  let running: Promise<void> | undefined
  let next: { readonly argument: T; readonly done: Promise<void> } | undefined
  return function trigger(argument: T): Promise<void> {
    if (running === undefined) {
      running = work(argument).finally(() => {
        running = undefined
      })
      return running
    }
    if (next === undefined) {
      const done = running.then(() => {
        next = undefined
        return trigger(argument)
      })
      next = { argument, done }
    }
    return next.done
  }
}
