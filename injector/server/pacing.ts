/**
 * Large bodies in turns. The event loop reads from every socket that has something before it looks at anything else: of a
 * hundred that send without end it would read six megabytes each time, while a small review waits for its few bytes.
 */

export type Pace = {
  /** Whether there are so many large bodies that this one has to wait; then `resume` is called when it may go on. */
  readonly mustWait: (resume: () => void) => boolean
  /** The body has ended. */
  readonly end: () => void
}

export type Pacing = {
  /** For one body that has turned out to be large. */
  readonly begin: () => Pace
}

/** Bodies that may go on at a time; four read a quarter of a megabyte. */
const AT_ONCE = 4

/** @param later calls back when the event loop has looked at its sockets */
export function pacing(later: (work: () => void) => void = setImmediate): Pacing {
  const waiting: (() => void)[] = []
  let large = 0
  let isScheduled = false
  const schedule = () => {
    if (isScheduled || waiting.length === 0) return
    isScheduled = true
    later(() => {
      isScheduled = false
      for (const resume of waiting.splice(0, AT_ONCE)) resume()
      schedule()
    })
  }
  return {
    begin() {
      large++
      let isOver = false
      return {
        mustWait(resume) {
          if (large <= AT_ONCE) return false
          waiting.push(resume)
          schedule()
          return true
        },
        end() {
          if (isOver) return
          isOver = true
          large--
        },
      }
    },
  }
}
