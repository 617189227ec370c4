/** A queue in which namespaces take turns, so that many waiting requests of one do not delay the single request of another. */

/** A place in the queue: a separate object for each waiting request. */
type Waiting = { readonly namespace: string }

export type FairQueue = {
  readonly add: (turn: Waiting, start: () => void) => void
  /** Removes a waiting request; returns its `start`, or undefined if it is not in this queue. */
  readonly leave: (turn: Waiting) => (() => void) | undefined
  /** Removes the next request and returns its `start`; undefined if none waits. */
  readonly next: () => (() => void) | undefined
  readonly size: () => number
}

/** First come, first served within a namespace; one of each namespace in turn. */
export function fairQueue(): FairQueue {
  const byNamespace = new Map<string, Map<object, () => void>>()
  let size = 0
  const take = (namespace: string, line: Map<object, () => void>, turn: object) => {
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
    next: () => {
      const [first] = byNamespace
      if (!first) return undefined
      const [namespace, line] = first
      const [turn] = line.keys()
      // To the end of the round.
      byNamespace.delete(namespace)
      byNamespace.set(namespace, line)
      return turn && take(namespace, line, turn)
    },
  }
}
