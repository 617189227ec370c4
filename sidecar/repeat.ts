/** Repeats a step that decides itself when it is called next; notices when the wall clock was set or the machine slept. */
import type { SteadyClock } from '../common/clock.ts'

/** Longest single sleep. A timer stands still during a suspend, so the wall clock is looked at this often. */
const SLICE_MS = 30_000
/** The two clocks drift apart by milliseconds an hour; more than this is a step or a suspend. */
const JUMP_MS = 5_000

export type Loop = {
  /** Ends the loop: the step is not called again, and the result of a call under way is ignored. */
  readonly stop: () => void
}

/**
 * Calls `step` at once, then again after the number of milliseconds with which its promise resolved, until that is undefined or the loop
 * is stopped. After a jump of the wall clock it is called at once, since the delay was planned by the earlier time.
 *
 * @param step never rejects
 * @param onJump called with the size of a jump in milliseconds, forward positive
 */
export function repeat(
  clock: SteadyClock,
  step: () => Promise<number | undefined>,
  onJump: (milliseconds: number) => void = () => {},
): Loop {
  let stopped = false
  let cancel = () => {}

  async function run() {
    const delay = await step()
    if (!stopped && delay !== undefined) sleep(clock.monotonic() + delay, clock.now() - clock.monotonic())
  }
  function sleep(until: number, offset: number) {
    const left = until - clock.monotonic()
    cancel = clock.after(Math.min(left, SLICE_MS), () => {
      const jump = clock.now() - clock.monotonic() - offset
      if (Math.abs(jump) > JUMP_MS) {
        onJump(jump)
        void run()
      } else if (clock.monotonic() >= until) void run()
      else sleep(until, offset)
    })
  }
  void run()
  return {
    stop: () => {
      stopped = true
      cancel()
    },
  }
}
