import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until `condition` gives something other than false, undefined or null, at most two minutes. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  deadlineMs = 120_000,
): Promise<NonNullable<Exclude<T, false>>> {
  const deadline = Date.now() + deadlineMs
  for (;;) {
    const value = await condition()
    if (value !== false && value !== undefined && value !== null)
      return value as NonNullable<Exclude<T, false>>
    if (Date.now() > deadline) throw new Error(`waited ${deadlineMs} ms in vain: ${what}`)
    await sleep(2)
  }
}
