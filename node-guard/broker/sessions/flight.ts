/** Waits for a fetch that continues whether or not anybody waits, and describes the outcomes without credentials. */

import type { Clock } from '../../../common/clock.ts'
import { Problem } from '../../../common/protocol.ts'
import { isWithdrawn } from '../aws/assume.ts'

/** After an answer that did not come in time, the sidecar retries this much later. */
const LATER_MS = 2000

/**
 * The outcome of the fetch, or after `milliseconds` the fallback, which is also used if the fetch fails.
 *
 * @param why the problem of the last try, if it failed
 * @throws {Problem}
 */
export async function outcomeWithin<T extends object>(
  flight: Promise<T>,
  milliseconds: number,
  clock: Clock,
  fallback: T | undefined,
  why: () => Problem | undefined = () => undefined,
): Promise<T> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>()
  const cancel = clock.after(milliseconds, () => resolve(undefined))
  try {
    const issued = (await Promise.race([flight, late])) ?? fallback
    if (issued) return issued
  } catch (error) {
    if (fallback && !isWithdrawn(error)) return fallback
    throw error
  } finally {
    cancel()
  }
  const last = why()
  // An earlier refusal does not answer this request.
  if (last?.code === 'sts-throttled') throw withRemainingWait(last, LATER_MS)
  throw new Problem('sts-unavailable', `STS has not answered within ${milliseconds / 1000} s; retry`, {
    retryAfter: LATER_MS / 1000,
  })
}

/** The remembered problem with the rest of its wait. */
export function withRemainingWait(problem: Problem, milliseconds: number): Problem {
  return new Problem(problem.code, problem.message, {
    retryAfter: Math.max(1, Math.ceil(milliseconds / 1000)),
    cause: problem.cause,
  })
}
