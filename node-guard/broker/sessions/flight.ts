/** Waiting for a fetch that goes on whether or not anybody waits, and its ends without credentials. */

import type { Clock } from '../../../common/clock.ts'
import { Problem } from '../../../common/protocol.ts'
import { isWithdrawn } from '../aws/withdrawn.ts'

/** An answer that did not come in time is asked for again after this long. */
const LATER_MS = 2000

/**
 * The flight's outcome, or after `milliseconds` the fallback, which is also used if the flight fails.
 *
 * @param why what kept STS from answering the last time, if something did
 */
export async function within<T extends object>(
  flight: Promise<T>,
  milliseconds: number,
  clock: Clock,
  standBy: T | undefined,
  why: () => Problem | undefined = () => undefined,
): Promise<T> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>()
  const cancel = clock.after(milliseconds, () => resolve(undefined))
  try {
    const issued = (await Promise.race([flight, late])) ?? standBy
    if (issued) return issued
  } catch (error) {
    if (standBy && !isWithdrawn(error)) return standBy
    throw error
  } finally {
    cancel()
  }
  const last = why()
  // An earlier refusal is no answer to this request.
  if (last?.code === 'sts-throttled') throw again(last, LATER_MS)
  throw new Problem('sts-unavailable', `STS has not answered within ${milliseconds / 1000} s; retry`, {
    retryAfter: LATER_MS / 1000,
  })
}

/** The remembered problem with what is left of the wait. */
export function again(problem: Problem, milliseconds: number): Problem {
  return new Problem(problem.code, problem.message, {
    retryAfter: Math.max(1, Math.ceil(milliseconds / 1000)),
    cause: problem.cause,
  })
}
