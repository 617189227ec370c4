/** A promise of the product, how it is shown, and the result. */

import { eventually } from '../support/until.ts'
import type { Context } from './context.ts'

export type Promised = {
  /** A sentence about behaviour. */
  readonly name: string
  /** Why it cannot be shown here; undefined if it can. */
  readonly leftOut?: (context: Context) => string | undefined
  /** Shows it; returns the evidence in a few words, and throws when the promise is broken. */
  readonly show: (context: Context) => Promise<string>
}

export type Group = {
  readonly title: string
  /** Why the whole group cannot be shown here. */
  readonly leftOut?: (context: Context) => string | undefined
  /** Makes what its promises need. */
  readonly prepare?: (context: Context) => Promise<void>
  readonly promises: readonly Promised[]
}

/** Thrown by `show` when it turns out that a promise cannot be shown here. */
export class LeftOut extends Error {}

export type Verdict = {
  readonly group: string
  readonly promise: string
  readonly outcome: 'kept' | 'broken' | 'left out'
  readonly detail: string
  readonly seconds: number
}

/** Shows the promises of a group one after the other; if preparing fails, all of them are broken. */
export async function showGroup(context: Context, group: Group): Promise<Verdict[]> {
  const verdicts: Verdict[] = []
  const add = (promise: string, outcome: Verdict['outcome'], detail: string, began: number) => {
    const seconds = (performance.now() - began) / 1000
    verdicts.push({ group: group.title, promise, outcome, detail, seconds })
    context.progress(`${outcome}: ${promise}`)
  }
  const began = performance.now()
  const unprepared = group.leftOut?.(context) === undefined ? await failureOf(context, group.prepare) : ''
  for (const promised of group.promises) {
    const leftOut = group.leftOut?.(context) ?? promised.leftOut?.(context)
    const start = performance.now()
    if (leftOut !== undefined) add(promised.name, 'left out', leftOut, start)
    else if (unprepared !== undefined)
      add(promised.name, 'broken', `could not be tried: ${unprepared}`, began)
    else add(promised.name, ...(await shown(context, promised)), start)
  }
  return verdicts
}

async function shown(context: Context, { show }: Promised): Promise<[Verdict['outcome'], string]> {
  try {
    return ['kept', await show(context)]
  } catch (error) {
    context.signal.throwIfAborted()
    if (error instanceof LeftOut) return ['left out', error.message]
    return ['broken', error instanceof Error ? error.message : String(error)]
  }
}

async function failureOf(context: Context, action: ((context: Context) => Promise<void>) | undefined) {
  try {
    await action?.(context)
    return undefined
  } catch (error) {
    // Interrupted: what was not tried gets no verdict.
    context.signal.throwIfAborted()
    return error instanceof Error ? error.message : String(error)
  }
}

/**
 * Waits until `look` returns something, with the patience of this run.
 *
 * @param seconds instead of `--wait-seconds`
 * @throws Error with what the last look threw, when the time is up
 */
export function until<T>(
  { signal, access, options }: Pick<Context, 'signal' | 'access' | 'options'>,
  what: string,
  look: () => Promise<T | undefined | false>,
  seconds: number = options.waitSeconds,
): Promise<NonNullable<Exclude<T, false>>> {
  return eventually(what, look, { deadlineMs: seconds * 1000, pollMs: access.pollMs, signal })
}

/** @throws Error with the sentence unless the condition is true */
export function expect(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new Error(sentence)
}
