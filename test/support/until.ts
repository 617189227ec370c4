/** Waiting for a condition: the only loop of its kind, so that every test waits with the same patience. */
import { setTimeout as wait } from 'node:timers/promises'

export type Patience = {
  /** Milliseconds. The deadline is for what hangs, not for what is slow on a busy machine. */
  readonly deadlineMs?: number
  /** Milliseconds between two polls. */
  readonly pollMs?: number
  /** Ends the wait early, with its reason. */
  readonly signal?: AbortSignal
  /** What the error says in addition when the deadline has passed. */
  readonly detail?: () => string
}

type Condition<T> = () => T | Promise<T>
type Found<T> = NonNullable<Exclude<T, false>>

/** Thrown by a condition of {@link eventually} when there is nothing to wait for any more. */
export class Hopeless extends Error {}

/**
 * Waits until the condition returns something other than false, undefined or null, and returns it. An error of the condition,
 * such as a failed assertion, is thrown at once.
 *
 * @param what is waited for, for the error; without it, the error quotes the condition
 * @throws Error when the deadline has passed
 */
export function until<T>(what: string, condition: Condition<T>, patience?: Patience): Promise<Found<T>>
export function until<T>(condition: Condition<T>, patience?: Patience): Promise<Found<T>>
export function until<T>(
  first: string | Condition<T>,
  second?: Condition<T> | Patience,
  third?: Patience,
): Promise<Found<T>> {
  const condition = typeof first === 'function' ? first : (second as Condition<T>)
  const patience = typeof first === 'function' ? (second as Patience | undefined) : third
  return poll(String(first), condition, patience, (error) => {
    throw error
  })
}

/**
 * Like {@link until}, but an error of the condition means "not yet": for something that may not be available at first. Only
 * {@link Hopeless} ends the wait.
 *
 * @throws Error when the deadline has passed, with the last error of the condition as its cause
 */
export function eventually<T>(what: string, condition: Condition<T>, patience?: Patience): Promise<Found<T>> {
  return poll(what, condition, patience, (error) => {
    if (error instanceof Hopeless) throw error
  })
}

async function poll<T>(
  what: string,
  condition: Condition<T>,
  { deadlineMs = 180_000, pollMs = 5, signal, detail }: Patience = {},
  failed: (error: unknown) => void,
): Promise<Found<T>> {
  const end = performance.now() + deadlineMs
  for (;;) {
    signal?.throwIfAborted()
    let cause: unknown
    try {
      const found = await condition()
      if (found !== false && found !== undefined && found !== null) return found as Found<T>
    } catch (error) {
      failed(error)
      cause = error
    }
    if (performance.now() > end) throw new Error(message(what, deadlineMs, cause, detail), { cause })
    await wait(pollMs, undefined, { signal })
  }
}

function message(what: string, deadlineMs: number, cause: unknown, detail?: () => string): string {
  const last = cause === undefined ? '' : `: ${cause instanceof Error ? cause.message : String(cause)}`
  const more = detail === undefined ? '' : `\n${detail()}`
  return `${what}: not within ${deadlineMs / 1000} s${last}${more}`
}
