/** A clock that a test turns. */
import type { SteadyClock } from '../../../common/clock.ts'

type Timer = { readonly due: number; readonly callback: () => void }

export class TestClock implements SteadyClock {
  #elapsed = 0
  #offset: number
  readonly #timers = new Set<Timer>()

  constructor(wall = Date.parse('2026-11-24T08:00:00Z')) {
    this.#offset = wall
  }

  readonly now = () => this.#offset + this.#elapsed
  readonly monotonic = () => this.#elapsed
  readonly after = (milliseconds: number, callback: () => void) => {
    const timer = { due: this.#elapsed + Math.max(0, milliseconds), callback }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#timers.size
  }

  /** Milliseconds until the next timer. */
  get next(): number {
    return Math.min(...[...this.#timers].map(({ due }) => due)) - this.#elapsed
  }

  /** Lets time pass, calling what comes due in order. */
  advance(milliseconds: number): void {
    const end = this.#elapsed + milliseconds
    for (;;) {
      const [first] = [...this.#timers].filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)
      if (first === undefined) break
      this.#elapsed = Math.max(this.#elapsed, first.due)
      this.#timers.delete(first)
      first.callback()
    }
    this.#elapsed = end
  }

  /** Sets the wall clock, as NTP or a resume after a suspend does. */
  jump(milliseconds: number): void {
    this.#offset += milliseconds
  }
}
