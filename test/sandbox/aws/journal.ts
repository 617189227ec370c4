/** Records, oldest first, bounded so that a day of load cannot exhaust memory. */
export class Journal<T> {
  readonly #entries: T[] = []
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  add(entry: T): void {
    this.#entries.push(entry)
    // Dropped in large pieces, because removing one by one copies the whole array each time.
    if (this.#entries.length > this.#limit * 1.25) this.#entries.splice(0, this.#entries.length - this.#limit)
  }

  list(): readonly T[] {
    return this.#entries
  }

  clear(): void {
    this.#entries.length = 0
  }
}
