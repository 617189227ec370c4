/**
 * A body as it came, in parts. Whoever reads it gets the parts in one buffer that all bodies share: to allocate megabytes for each
 * leaves holes in the C library's heap that nothing else fits into, and a process that has read a hundred thousand bodies holds
 * twice what it uses.
 */
export class Body {
  readonly length: number
  #parts: readonly Buffer[]

  constructor(parts: readonly Buffer[]) {
    this.#parts = parts
    this.length = parts.reduce((sum, { length }) => sum + length, 0)
  }

  /** All of it, until anybody asks for a whole body again: nothing may be waited for in between. */
  whole(): Buffer {
    const [first] = this.#parts
    if (first === undefined || this.#parts.length === 1) return first ?? NOTHING
    if (shared.length < this.length) shared = Buffer.allocUnsafeSlow(this.length)
    let at = 0
    for (const part of this.#parts) at += part.copy(shared, at)
    return shared.subarray(0, at)
  }

  /** Lets go of the parts. */
  clear(): void {
    this.#parts = []
  }

  toString(): string {
    return this.whole().toString('utf8')
  }
}

const NOTHING = Buffer.alloc(0)
/** As large as the largest body so far; {@link reserve} makes it what it will ever be. */
let shared = NOTHING

/** Makes room once and for all for bodies of so many bytes. */
export function reserve(bytes: number): void {
  if (shared.length < bytes) shared = Buffer.allocUnsafeSlow(bytes)
}
