/** A promise of the product, how it is shown, and what came of it. */
import { setTimeout as wait } from 'node:timers/promises'
import type { Context } from './context.ts'

export type Promised = {
  /** A sentence about behaviour. */
  readonly name: string
  /** Why it cannot be shown here; undefined where it can. */
  readonly leftOut?: (context: Context) => string | undefined
  /** Shows it; returns the evidence in a few words, throws when it is broken. */
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

/** Shows the promises of a group, one after the other; where preparing fails, all of them are broken. */
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
    // Interrupted: nobody wants the verdicts of what was not tried.
    context.signal.throwIfAborted()
    return error instanceof Error ? error.message : String(error)
  }
}

/** Thrown by `look` when there is nothing to wait for any more. */
export class Hopeless extends Error {}

/**
 * Waits until `look` returns something.
 *
 * @param what completes "… did not come within N s"
 * @throws Error with what the last look threw, when the time is up
 */
export async function until<T>(
  { signal, access, options }: Pick<Context, 'signal' | 'access' | 'options'>,
  what: string,
  look: () => Promise<T | undefined | false>,
  seconds: number = options.waitSeconds,
): Promise<T> {
  const deadline = performance.now() + seconds * 1000
  let last = ''
  for (;;) {
    signal.throwIfAborted()
    try {
      const found = await look()
      if (found !== undefined && found !== false) return found
    } catch (error) {
      if (error instanceof Hopeless) throw error
      last = error instanceof Error ? `: ${error.message}` : `: ${error}`
    }
    if (performance.now() > deadline) throw new Error(`${what} did not come within ${seconds} s${last}`)
    await wait(access.pollMs, undefined, { signal })
  }
}

/** @throws Error with the sentence unless the condition holds */
export function expect(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new Error(sentence)
}
