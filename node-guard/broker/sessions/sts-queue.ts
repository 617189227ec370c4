/**
 * The way to STS: a pace, a concurrency limit and a fair order. Running pods whose credentials have expired come first, then
 * renewals (a running pod loses more than a starting one), then first issues, then what nobody has asked for yet, and within each
 * the namespaces take turns, so that a thousand pods of one do not keep another's single pod waiting.
 */

import type { Clock } from '../../../common/clock.ts'
import { type FairLine, fairLine } from '../../../common/fair-line.ts'
import { pacedStarts } from '../../../common/paced-starts.ts'
import { Problem } from '../../../common/protocol.ts'
import { classifyStsError } from '../aws/classify.ts'
import { type PacedCall, stsPace } from './pace.ts'

/** First come those of the first. */
const PRIORITIES = ['lapsed', 'renewal', 'first', 'warm-up'] as const
export type Priority = (typeof PRIORITIES)[number]

/** A place in the queue. */
export type Turn = { readonly namespace: string; readonly priority: Priority }

export type StsQueue = {
  /**
   * Runs `task` in its turn.
   *
   * @throws {Problem} `busy` when too many are waiting; else what the task throws
   */
  readonly run: <T>(turn: Turn, task: () => Promise<T>) => Promise<T>
  /** Somebody waits for what was a warm-up: its turn, if it has not come, is among the first issues now. */
  readonly raise: (turn: Turn) => void
  readonly waiting: () => number
}

const MAX_WAITING = 2000

export function stsQueue(
  limits: { readonly perSecond: number; readonly concurrency: number },
  clock: Clock,
): StsQueue {
  const pace = stsPace(limits.perSecond, clock)
  const { lines, size, next } = priorityLines()
  let running = 0
  const pump = pacedStarts({ size, next }, pace, clock, () => running < limits.concurrency)
  return {
    waiting: size,
    run: async (turn, task) => {
      if (size() >= MAX_WAITING)
        throw new Problem('busy', 'too many pods of this node are waiting for STS; retry', { retryAfter: 5 })
      const { promise, resolve } = Promise.withResolvers<PacedCall>()
      lines[turn.priority].add(turn, () => {
        running++
        resolve(pace.begin())
      })
      pump()
      const call = await promise
      try {
        const result = await task()
        call.answered()
        return result
      } catch (error) {
        report(call, error)
        throw error
      } finally {
        running--
        pump()
      }
    },
    raise: (turn) => {
      const start = lines['warm-up'].leave(turn)
      if (start) lines.first.add(turn, start)
    },
  }
}

/** A line for each priority, and what they are together. */
function priorityLines() {
  const lines: Record<Priority, FairLine> = {
    lapsed: fairLine(),
    renewal: fairLine(),
    first: fairLine(),
    'warm-up': fairLine(),
  }
  const inOrder = PRIORITIES.map((priority) => lines[priority])
  return {
    lines,
    size: () => inOrder.reduce((sum, { size }) => sum + size(), 0),
    next: () => inOrder.find(({ size }) => size() > 0)?.next(),
  }
}

/** Reports a failure to the pace: a refused role shows that STS has time for this node. */
function report(call: PacedCall, error: unknown): void {
  // Ours, before STS was asked.
  if (error instanceof Problem) return
  const failure = classifyStsError(error)
  if (failure === 'throttled' || failure === 'unavailable') call.refused()
  else if (failure !== 'node-credentials') call.answered()
}
