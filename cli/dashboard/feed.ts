/** The newest look at the cluster. It is looked at while somebody watches, and no faster than it answers. */
import type { Fault, Snapshot } from './snapshot.ts'

export type View = {
  /** Of the last look that succeeded; undefined before. */
  readonly snapshot: Snapshot | undefined
  /** Why the last look failed; undefined where it did not. */
  readonly fault: Fault | undefined
}

export type FeedOptions = {
  readonly look: () => Promise<Snapshot>
  readonly faultOf: (error: unknown) => Fault
  /** Milliseconds between the end of one look and the next; more where looking takes long. */
  readonly intervalMs: number
  /** Milliseconds, steady. */
  readonly clock: () => number
}

export type Feed = {
  /** What is known, after another look where that is old; waits so long for it, milliseconds. */
  readonly latest: (waitMs: number) => Promise<View>
  /** Told of every look from now on, until the function that it returns is called. */
  readonly watch: (told: (view: View) => void) => () => void
  readonly close: () => void
}

/** A look that took long was much for the API server: it is left alone for three times as long. */
const REST = 3

export function createFeed({ look, faultOf, intervalMs, clock }: FeedOptions): Feed {
  const watchers = new Set<(view: View) => void>()
  let view: View = { snapshot: undefined, fault: undefined }
  let looking: Promise<void> | undefined
  let dueAt = Number.NEGATIVE_INFINITY
  let timer: NodeJS.Timeout | undefined
  let isClosed = false

  async function attempt(): Promise<void> {
    const startedAt = clock()
    try {
      view = { snapshot: await look(), fault: undefined }
    } catch (error) {
      view = { ...view, fault: faultOf(error) }
    }
    const endedAt = clock()
    dueAt = endedAt + Math.max(intervalMs, REST * (endedAt - startedAt))
    looking = undefined
    for (const told of watchers) told(view)
    schedule()
  }

  function lookNow(): Promise<void> {
    looking ??= attempt()
    return looking
  }

  function schedule(): void {
    clearTimeout(timer)
    if (isClosed || watchers.size === 0 || looking !== undefined) return
    timer = setTimeout(() => void lookNow(), Math.max(0, dueAt - clock()))
  }

  return {
    async latest(waitMs) {
      if (clock() < dueAt || isClosed) return view
      let giveUp: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => {
        giveUp = setTimeout(resolve, waitMs)
      })
      await Promise.race([lookNow(), late])
      clearTimeout(giveUp)
      return view
    },
    watch(told) {
      watchers.add(told)
      schedule()
      return () => {
        watchers.delete(told)
        schedule()
      }
    },
    close() {
      isClosed = true
      clearTimeout(timer)
    },
  }
}
