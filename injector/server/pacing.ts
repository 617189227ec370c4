/**
 * Lets connections take turns when large bodies are read. The event loop reads from every socket with data before it does anything else: with a hundred
 * senders that never pause it would read six megabytes in each round, while a small review waits for its few bytes.
 */

export type Pacing = ReturnType<typeof pacing>
export type Pace = ReturnType<Pacing['begin']>

/** Bodies that may continue at the same time; four read a quarter of a megabyte. */
const AT_ONCE = 4

/** @param later calls back after the event loop has handled its sockets */
export function pacing(later: (work: () => void) => void = setImmediate) {
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
    /** Starts pacing one body that has turned out to be large. */
    begin() {
      large++
      let isOver = false
      return {
        /** Whether this body must wait because there are too many large ones; `resume` is called when it may continue. */
        mustWait(resume: () => void) {
          if (large <= AT_ONCE) return false
          waiting.push(resume)
          schedule()
          return true
        },
        /** The body has ended. */
        end() {
          if (isOver) return
          isOver = true
          large--
        },
      }
    },
  }
}
