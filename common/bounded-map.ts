/** A Map with a maximum number of entries: an entry that is set becomes the newest, and the oldest one is evicted if necessary. */
export class BoundedMap<Key, Value> extends Map<Key, Value> {
  readonly #max: number
  readonly #onEvict: (value: Value, key: Key) => void

  /** @param onEvict called with each evicted entry */
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
