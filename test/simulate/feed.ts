/** The lines of one watch: they are read in the order in which they were pushed, until the watch ends or fails. */
export type Feed = {
  readonly push: (line: unknown) => void
  readonly end: () => void
  readonly fail: (error: Error) => void
  readonly lines: () => AsyncGenerator<unknown>
}

/** @param waiting the lines from before it was opened */
export function feed(waiting: unknown[]): Feed {
  let ended = false
  let failure: Error | undefined
  let wake = () => {}
  return {
    push: (line) => {
      waiting.push(line)
      wake()
    },
    end: () => {
      ended = true
      wake()
    },
    fail: (error) => {
      failure = error
      wake()
    },
    lines: async function* () {
      for (;;) {
        while (waiting.length > 0) yield waiting.shift()
        if (failure) throw failure
        if (ended) return
        await new Promise<void>((resume) => {
          wake = resume
        })
      }
    },
  }
}
