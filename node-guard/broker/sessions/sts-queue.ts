/**
 * The way to STS: a pace, by web identity that of the role's account, a concurrency limit and a fair order. Running pods whose credentials have expired come first, then
 * renewals (a running pod loses more than a starting one), then first issues, then what nobody has asked for yet, and within each
 * the namespaces take turns, so that a thousand pods of one do not keep another's single pod waiting.
 */

import type { Clock } from '../../../common/clock.ts'
import { type FairLine, fairLine } from '../../../common/fair-line.ts'
import { pacedStarts } from '../../../common/paced-starts.ts'
import { Problem } from '../../../common/protocol.ts'
import { classifyOf } from '../aws/classify.ts'
import { accountPaces, type Lane } from './account-paces.ts'
import type { PacedCall } from './pace.ts'

/** First come those of the first. */
const PRIORITIES = ['lapsed', 'renewal', 'first', 'warm-up'] as const
export type Priority = (typeof PRIORITIES)[number]

/** A place in the queue. */
export type Turn = {
  readonly namespace: string
  readonly priority: Priority
  /** Of a request by web identity: the account of its role. */
  readonly webIdentity?: { readonly account: string }
}

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
  const paces = accountPaces(limits.perSecond, clock)
  const laneOf = new WeakMap<Turn, Lane>()
  const { lines, size, next } = priorityLines((turn) => laneOf.get(turn)?.pace.wait() === 0)
  let running = 0
  const pump = pacedStarts({ size, next }, paces, clock, () => running < limits.concurrency)
  return {
    waiting: size,
    run: async (turn, task) => {
      if (size() >= MAX_WAITING)
        throw new Problem('busy', 'too many pods of this node are waiting for STS; retry', { retryAfter: 5 })
      const { promise, resolve } = Promise.withResolvers<PacedCall>()
      const lane = paces.laneOf(turn.webIdentity?.account)
      laneOf.set(turn, lane)
      lane.waiting++
      lines[turn.priority].add(turn, () => {
        lane.waiting--
        lane.running++
        running++
        lane.pace.take()
        resolve(lane.pace.begin())
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
    raise: (turn) => {
      const start = lines['warm-up'].leave(turn)
      if (start) lines.first.add(turn, start)
    },
  }
}

/** A line for each priority, and what they are together. @param isReady of turns that may start now */
function priorityLines(isReady: (turn: Turn) => boolean) {
  const lines: Record<Priority, FairLine<Turn>> = {
    lapsed: fairLine(),
    renewal: fairLine(),
    first: fairLine(),
    'warm-up': fairLine(),
  }
  const inOrder = PRIORITIES.map((priority) => lines[priority])
  return {
    lines,
    size: () => inOrder.reduce((sum, { size }) => sum + size(), 0),
    next: () => {
      for (const line of inOrder) {
        const start = line.next(isReady)
        if (start) return start
      }
      return undefined
    },
  }
}

/** Reports a failure to the pace: a refused role shows that STS has time for this node. */
function report(call: PacedCall, turn: Turn, error: unknown): void {
  // Ours, before STS was asked.
  if (error instanceof Problem) return
  const failure = classifyOf(turn)(error)
  if (failure === 'throttled' || failure === 'unavailable') call.refused()
  else if (failure !== 'node-credentials') call.answered()
}
