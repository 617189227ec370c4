/**
 * The way to STS: a token bucket, a concurrency limit and a fair order. Renewals come before first issues (a running pod
 * loses more than a starting one), and within each the namespaces take turns, so that a thousand pods of one do
 * not keep another's single pod waiting.
 */
import { Problem } from '../../../common/protocol.ts'
import type { Clock } from '../clock.ts'
import { tokenBucket } from '../token-bucket.ts'

export type Priority = 'renewal' | 'first'

export type StsQueue = {
  /**
   * Runs `task` in its turn.
   *
   * @throws {Problem} `busy` when too many are waiting; else what the task throws
   */
  readonly run: <T>(turn: { namespace: string; priority: Priority }, task: () => Promise<T>) => Promise<T>
  readonly waiting: () => number
}

const MAX_WAITING = 2000

export function stsQueue(
  limits: { readonly perSecond: number; readonly concurrency: number },
  clock: Clock,
): StsQueue {
  const bucket = tokenBucket(limits.perSecond, limits.perSecond, clock)
  const lines: Record<Priority, FairLine> = { renewal: fairLine(), first: fairLine() }
  let running = 0
  let refilling = false

  const waiting = () => lines.renewal.size() + lines.first.size()
  const pump = () => {
    while (running < limits.concurrency && waiting() > 0) {
      if (!bucket.take()) {
        if (!refilling) clock.after(bucket.wait(), refilled)
        refilling = true
        return
      }
      const start = lines.renewal.next() ?? lines.first.next()
      running++
      start?.()
    }
  }
  const refilled = () => {
    refilling = false
    pump()
  }
  return {
    waiting,
    run: async (turn, task) => {
      if (waiting() >= MAX_WAITING)
        throw new Problem('busy', 'too many pods of this node are waiting for STS; retry', { retryAfter: 5 })
      const { promise, resolve } = Promise.withResolvers<void>()
      lines[turn.priority].add(turn.namespace, resolve)
      pump()
      await promise
      try {
        return await task()
      } finally {
        running--
        pump()
      }
    },
  }
}

type FairLine = {
  readonly add: (namespace: string, start: () => void) => void
  readonly next: () => (() => void) | undefined
  readonly size: () => number
}

/** First come, first served within a namespace; one of each namespace in turn. */
export function fairLine(): FairLine {
  const byNamespace = new Map<string, (() => void)[]>()
  let size = 0
  return {
    size: () => size,
    add: (namespace, start) => {
      const line = byNamespace.get(namespace)
      if (line) line.push(start)
      else byNamespace.set(namespace, [start])
      size++
    },
    next: () => {
      const [first] = byNamespace
      if (!first) return undefined
      const [namespace, line] = first
      const start = line.shift()
      byNamespace.delete(namespace)
      // To the end of the round.
      if (line.length > 0) byNamespace.set(namespace, line)
      size--
      return start
    },
  }
}
