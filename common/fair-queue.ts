/** A queue in which namespaces take turns, so that many waiting requests of one do not delay the single request of another. */

/** A place in the queue: a separate object for each waiting request. */
type Waiting = { readonly namespace: string }

export type FairQueue<Turn extends Waiting = Waiting> = {
  readonly add: (turn: Turn, start: () => void) => void
  /** Removes a waiting request; returns its `start`, or undefined if it is not in this queue. */
  readonly leave: (turn: Turn) => (() => void) | undefined
  /** Removes the next request that `isReady` accepts and returns its `start`; undefined if none of these waits. */
  readonly next: (isReady?: (turn: Turn) => boolean) => (() => void) | undefined
  readonly size: () => number
}

/** First come, first served within a namespace; one of each namespace in turn. */
export function fairQueue<Turn extends Waiting = Waiting>(): FairQueue<Turn> {
  const byNamespace = new Map<string, Map<Turn, () => void>>()
  let size = 0
  const take = (namespace: string, line: Map<Turn, () => void>, turn: Turn) => {
    const start = line.get(turn)
    if (!line.delete(turn)) return undefined
    size--
    if (line.size === 0) byNamespace.delete(namespace)
    return start
  }
  return {
    size: () => size,
    add: (turn, start) => {
      const line = byNamespace.get(turn.namespace)
      if (line) line.set(turn, start)
      else byNamespace.set(turn.namespace, new Map([[turn, start]]))
      size++
    },
    leave: (turn) => {
      const line = byNamespace.get(turn.namespace)
      return line && take(turn.namespace, line, turn)
    },
    next: (isReady = () => true) => {
      for (const [namespace, line] of byNamespace)
        for (const turn of line.keys()) {
          if (!isReady(turn)) continue
          // To the end of the round.
          byNamespace.delete(namespace)
          byNamespace.set(namespace, line)
          return take(namespace, line, turn)
        }
      return undefined
    },
  }
}
