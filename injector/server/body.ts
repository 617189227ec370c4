const NOTHING = Buffer.alloc(0)
/** As large as the largest body so far; {@link reserve} gives it its final size. */
let shared = NOTHING

/**
 * A body in the parts in which it arrived. A reader gets all parts in one buffer that all bodies share: allocating megabytes for
 * each body fragments the C library's heap, and a process that has read a hundred thousand bodies would hold twice the memory it
 * uses.
 */
export class Body {
  readonly length: number
  #parts: readonly Buffer[]

  constructor(parts: readonly Buffer[]) {
    this.#parts = parts
    this.length = parts.reduce((sum, { length }) => sum + length, 0)
  }

  /** The whole body, valid until the next call for any body: the caller must use it synchronously. */
  whole(): Buffer {
    const [first] = this.#parts
    if (first === undefined || this.#parts.length === 1) return first ?? NOTHING
    if (shared.length < this.length) shared = Buffer.allocUnsafeSlow(this.length)
    let at = 0
    for (const part of this.#parts) at += part.copy(shared, at)
    return shared.subarray(0, at)
  }

  /** Drops the parts. */
  clear(): void {
    this.#parts = []
  }

  toString(): string {
    return this.whole().toString('utf8')
  }
}

/** Allocates the shared buffer once, for bodies of up to this many bytes. */
export function reserve(bytes: number): void {
  if (shared.length < bytes) shared = Buffer.allocUnsafeSlow(bytes)
}
