/** A Map of at most so many entries: what is set becomes the newest entry, and the oldest one is evicted to make room. */
export class BoundedMap<Key, Value> extends Map<Key, Value> {
  readonly #max: number
  readonly #onEvict: (value: Value, key: Key) => void

  /** @param onEvict called with each entry that had to make room */
  constructor(max: number, onEvict: (value: Value, key: Key) => void = () => {}) {
    super()
    this.#max = max
    this.#onEvict = onEvict
  }

  override set(key: Key, value: Value): this {
    this.delete(key)
    super.set(key, value)
    if (this.size <= this.#max) return this
    for (const [oldest, evicted] of this) {
      this.delete(oldest)
      this.#onEvict(evicted, oldest)
      break
    }
    return this
  }
}
