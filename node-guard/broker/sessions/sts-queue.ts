/**
 * The queue in front of STS: an adaptive rate (by web identity one for each account), a concurrency limit and a fair order. Running pods
 * whose credentials have expired come first, then renewals (a running pod loses more than a starting one), then first issues, then
 * sessions that nobody has requested yet, and within each the namespaces take turns, so that a thousand pods of one namespace do not
 * keep a single pod of another waiting.
 */

import type { Clock } from '../../../common/clock.ts'
import { type FairQueue, fairQueue } from '../../../common/fair-queue.ts'
import { pacedStarts } from '../../../common/paced-starts.ts'
import { Problem } from '../../../common/protocol.ts'
import { classifierFor } from '../aws/classify.ts'
import { accountRates, type Lane } from './account-rates.ts'
import type { RatedCall } from './adaptive-rate.ts'

/** In the order in which they are served. */
const PRIORITIES = ['lapsed', 'renewal', 'first', 'warm-up'] as const
export type Priority = (typeof PRIORITIES)[number]

/** A place in the queue. */
export type Turn = {
  readonly namespace: string
  readonly priority: Priority
  /** Of a request by web identity: the account of its role. */
  readonly webIdentity?: { readonly account: string }
}

export type StsQueue = ReturnType<typeof stsQueue>

const MAX_WAITING = 2000

export function stsQueue(limits: { readonly perSecond: number; readonly concurrency: number }, clock: Clock) {
  const rates = accountRates(limits.perSecond, clock)
  const laneOf = new WeakMap<Turn, Lane>()
  const { queues, size, next } = priorityQueues((turn) => laneOf.get(turn)?.rate.wait() === 0)
  let running = 0
  const pump = pacedStarts({ size, next }, rates, clock, () => running < limits.concurrency)
  return {
    waiting: size,
    /**
     * Runs `task` in its turn.
     *
     * @throws {Problem} `busy` when too many are waiting; else what the task throws
     */
    run: async <T>(turn: Turn, task: () => Promise<T>): Promise<T> => {
      if (size() >= MAX_WAITING)
        throw new Problem('busy', 'too many pods of this node are waiting for STS; retry', { retryAfter: 5 })
      const { promise, resolve } = Promise.withResolvers<RatedCall>()
      const lane = rates.laneOf(turn.webIdentity?.account)
      laneOf.set(turn, lane)
      lane.waiting++
      queues[turn.priority].add(turn, () => {
        lane.waiting--
        lane.running++
        running++
        lane.rate.take()
        resolve(lane.rate.begin())
      })
      pump()
      const call = await promise
      try {
        const result = await task()
        call.answered()
        return result
      } catch (error) {
        report(call, turn, error)
        throw error
      } finally {
        lane.running--
        running--
        pump()
      }
    },
    /** Moves a warm-up that still waits to the first issues, because its session was requested in the meantime. */
    raise: (turn: Turn) => {
      const start = queues['warm-up'].leave(turn)
      if (start) queues.first.add(turn, start)
    },
  }
}

/** A queue for each priority, and all of them as one. @param isReady whether a turn may start now */
function priorityQueues(isReady: (turn: Turn) => boolean) {
  const queues: Record<Priority, FairQueue<Turn>> = {
    lapsed: fairQueue(),
    renewal: fairQueue(),
    first: fairQueue(),
    'warm-up': fairQueue(),
  }
  const inOrder = PRIORITIES.map((priority) => queues[priority])
  return {
    queues,
    size: () => inOrder.reduce((sum, { size }) => sum + size(), 0),
    next: () => {
      for (const queue of inOrder) {
        const start = queue.next(isReady)
        if (start) return start
      }
      return undefined
    },
  }
}

/** Reports a failure to the adaptive rate: a refused role shows that STS has capacity for this node. */
function report(call: RatedCall, turn: Turn, error: unknown): void {
  // Ours, before STS was asked.
  if (error instanceof Problem) return
  const failure = classifierFor(turn)(error)
  if (failure === 'throttled' || failure === 'unavailable') call.refused()
  else if (failure !== 'node-credentials') call.answered()
}
