import { setTimeout } from 'node:timers/promises'

/** Resolves with the first truthy value of `condition`; rejects with `what` at the deadline (milliseconds). */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  deadline = 120_000,
): Promise<NonNullable<T>> {
  const end = Date.now() + deadline
  let last: unknown
  for (;;) {
    try {
      const value = await condition()
      if (value) return value
    } catch (error) {
      last = error
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${deadline} ms`, { cause: last })
    await setTimeout(5)
  }
}
