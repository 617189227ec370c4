/** The newest data about the cluster, which is read only while a page is open, and no faster than the cluster answers. */
import type { Fault, Snapshot } from './snapshot.ts'

export type View = {
  /** From the last update that succeeded; undefined before the first. */
  readonly snapshot: Snapshot | undefined
  /** Why the last update failed; undefined if it did not. */
  readonly fault: Fault | undefined
}

export type FeedOptions = {
  readonly look: () => Promise<Snapshot>
  readonly faultOf: (error: unknown) => Fault
  /** Milliseconds between the end of one update and the next; more if updates take long. */
  readonly intervalMs: number
  /** Milliseconds, monotonic. */
  readonly clock: () => number
}

export type Feed = {
  /** The current data, after another update if it is old; waits for that update for at most this time, milliseconds. */
  readonly latest: (waitMs: number) => Promise<View>
  /** Calls the listener for every update until the returned function is called. */
  readonly watch: (listener: (view: View) => void) => () => void
  readonly close: () => void
}

/** An update that took long was expensive for the API server, so the next one starts after three times that duration. */
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
    for (const listener of watchers) listener(view)
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
    watch(listener) {
      watchers.add(listener)
      schedule()
      return () => {
        watchers.delete(listener)
        schedule()
      }
    },
    close() {
      isClosed = true
      clearTimeout(timer)
    },
  }
}
