/** Simulated time: the timers of the whole fleet in one order, and nothing ever sleeps. */

/** Timers are run in steps of this many milliseconds: finer than anything that the fleet's curves show. */
const TICK_MS = 50
const TICKS_NEAR = 2048

type Timer = { readonly tick: number; action: (() => void) | undefined }

export type Time = {
  /** True milliseconds since the epoch; a node's clock may differ. */
  readonly now: () => number
  /** Runs `action` after some milliseconds; the returned function cancels it. */
  readonly after: (milliseconds: number, action: () => void) => () => void
  /** Runs everything that is due by then, and lets promises settle after each step. */
  readonly runUntil: (milliseconds: number) => Promise<void>
}

/**
 * Time that begins at `start`. It has two levels: timers that are due within 102 s are in a ring by their step, later ones in
 * a list for each 102 s; adding and removing a timer costs the same, even if there are millions.
 */
export function simulatedTime(start: number): Time {
  const near: (Timer[] | undefined)[] = new Array(TICKS_NEAR)
  const far = new Map<number, Timer[]>()
  let tick = 0

  const put = (timer: Timer) => {
    const slot = timer.tick % TICKS_NEAR
    const there = near[slot]
    if (there) there.push(timer)
    else near[slot] = [timer]
  }
  const after = (milliseconds: number, action: () => void) => {
    // Never in the step that is running: what that step starts is run after it.
    const due = tick + Math.max(1, Math.ceil(milliseconds / TICK_MS))
    const timer: Timer = { tick: due, action }
    const round = Math.floor(due / TICKS_NEAR)
    if (round === Math.floor(tick / TICKS_NEAR)) put(timer)
    else {
      const there = far.get(round)
      if (there) there.push(timer)
      else far.set(round, [timer])
    }
    return () => {
      timer.action = undefined
    }
  }
  const step = async () => {
    tick++
    if (tick % TICKS_NEAR === 0) {
      const round = tick / TICKS_NEAR
      for (const timer of far.get(round) ?? []) if (timer.action) put(timer)
      far.delete(round)
    }
    const slot = tick % TICKS_NEAR
    const due = near[slot]
    if (!due) return
    near[slot] = undefined
    for (const timer of due) timer.action?.()
    await settled()
  }
  return {
    now: () => start + tick * TICK_MS,
    after,
    runUntil: async (milliseconds) => {
      await settled()
      while (start + tick * TICK_MS < milliseconds) await step()
    },
  }
}

/** Resolves when all promises have settled that can do so without time passing. */
function settled(): Promise<void> {
  return new Promise((done) => setImmediate(done))
}

/** Random numbers that are the same in every run (mulberry32), from 0 (included) to 1. */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
