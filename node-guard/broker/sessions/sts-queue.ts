/**
 * The queue in front of STS: an adaptive rate, a concurrency limit and a fair order. Running pods whose credentials have expired come first, then
 * renewals (a running pod loses more than a starting one), then first issues, then sessions that nobody has requested yet, and within each
 * the namespaces take turns, so that a thousand pods of one namespace do not keep a single pod of another waiting.
 */

import type { Clock } from '../../../common/clock.ts'
import { type FairQueue, fairQueue } from '../../../common/fair-queue.ts'
import { pacedStarts } from '../../../common/paced-starts.ts'
import { Problem } from '../../../common/protocol.ts'
import { classifyStsError } from '../aws/classify.ts'
import { adaptiveRate, type RatedCall } from './adaptive-rate.ts'

/** In the order in which they are served. */
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
  /** Moves a warm-up that still waits to the first issues, because its session was requested in the meantime. */
  readonly raise: (turn: Turn) => void
  readonly waiting: () => number
}

const MAX_WAITING = 2000

export function stsQueue(
  limits: { readonly perSecond: number; readonly concurrency: number },
  clock: Clock,
): StsQueue {
  const rate = adaptiveRate(limits.perSecond, clock)
  const { queues, size, next } = priorityQueues()
  let running = 0
  const pump = pacedStarts({ size, next }, rate, clock, () => running < limits.concurrency)
  return {
    waiting: size,
    run: async (turn, task) => {
      if (size() >= MAX_WAITING)
        throw new Problem('busy', 'too many pods of this node are waiting for STS; retry', { retryAfter: 5 })
      const { promise, resolve } = Promise.withResolvers<RatedCall>()
      queues[turn.priority].add(turn, () => {
        running++
        resolve(rate.begin())
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
      const start = queues['warm-up'].leave(turn)
      if (start) queues.first.add(turn, start)
    },
  }
}

/** A queue for each priority, and all of them as one. */
function priorityQueues() {
  const queues: Record<Priority, FairQueue> = {
    lapsed: fairQueue(),
    renewal: fairQueue(),
    first: fairQueue(),
    'warm-up': fairQueue(),
  }
  const inOrder = PRIORITIES.map((priority) => queues[priority])
  return {
    queues,
    size: () => inOrder.reduce((sum, { size }) => sum + size(), 0),
    next: () => inOrder.find(({ size }) => size() > 0)?.next(),
  }
}

/** Reports a failure to the adaptive rate: a refused role shows that STS has capacity for this node. */
function report(call: RatedCall, error: unknown): void {
  // Ours, before STS was asked.
  if (error instanceof Problem) return
  const failure = classifyStsError(error)
  if (failure === 'throttled' || failure === 'unavailable') call.refused()
  else if (failure !== 'node-credentials') call.answered()
}
