/**
 * Writes lines without blocking to an output that may be full. A line that does not fit waits in a
 * bounded queue; when that is full, the least important line is dropped, and a line in its place says how many are missing.
 */
import { LINE_KINDS, type LineKind } from './log.ts'

/** Lines that were lost. */
export type Loss = { readonly lines: number; readonly audit: number }

export type LineWriter = ReturnType<typeof lineWriter>

type Waiting = { readonly line: string; readonly kind: LineKind; missing: Loss }

const NO_BYTES = new Uint8Array()

/**
 * The buffer in which a line is encoded. Not `Buffer.from(line)`: that comes from Node's pool, whose slabs live until a full
 * collection, 1 MiB of every sidecar after 5,000 lines.
 */
const scratch = Buffer.alloc(4096)
/** Bytes of UTF-8 for one UTF-16 unit, at most. */
const MAX_BYTES = 3

/** A line's bytes, valid until the next call. */
function bytesOf(line: string): Uint8Array {
  if (line.length * MAX_BYTES > scratch.length) return Buffer.from(line)
  return scratch.subarray(0, scratch.write(line))
}
const NOTHING: Loss = { lines: 0, audit: 0 }

/**
 * @param deps.writeSome writes bytes and returns how many; throws if the output is full. A pipe takes up to 4 KiB completely
 * or not at all (pipe(7), PIPE_BUF), and of more as much as fits
 * @param deps.lossLine the line that replaces lost lines
 * @param deps.capacity characters that may wait
 * @param deps.onLost called for each line that is lost
 * @param deps.tryLater schedules a call of `drain`
 */
export function lineWriter(deps: {
  readonly writeSome: (bytes: Uint8Array) => number
  readonly lossLine: (loss: Loss) => string
  readonly capacity: number
  readonly onLost: (kind: LineKind) => void
  readonly tryLater: () => void
}) {
  const { writeSome, lossLine, capacity, onLost, tryLater } = deps
  const queue = new LineQueue(capacity, onLost)
  /** The rest of a line that was written in part. It is written before anything else, since otherwise two lines would become one. */
  let rest: Uint8Array = NO_BYTES

  const writeRest = (): boolean => {
    while (rest.length > 0) {
      const taken = bytesTaken(writeSome, rest)
      if (taken === 0) return false
      rest = after(rest, taken)
    }
    return true
  }
  /** Whether a line was taken, as a whole or in part: the rest of it is then written first. */
  const put = (line: string): boolean => {
    const bytes = bytesOf(line)
    const taken = bytesTaken(writeSome, bytes)
    if (taken === 0) return false
    // The rest outlives the next line, which is written over these bytes.
    rest = taken < bytes.length ? Uint8Array.from(bytes.subarray(taken)) : NO_BYTES
    return true
  }
  const drain = (): boolean => {
    while (writeRest()) {
      const { first, missing } = queue
      if (missing.lines > 0) {
        if (!put(lossLine(missing))) return false
        queue.missing = NOTHING
      } else if (first === undefined) return true
      else if (put(first.line)) queue.remove(0)
      else return false
    }
    return false
  }
  return {
    /** Writes a line with its newline now, or later, or never. Never throws and never waits. */
    write: (line: string, kind: LineKind) => {
      const taken = drain() && put(line)
      if (!taken) queue.keep(line, kind)
      if (!taken || rest.length > 0) tryLater()
    },
    /** Writes the lines that wait as far as there is space; returns whether none waits any more. */
    drain,
  }
}

/** The lines that wait, in their order, with the losses before each of them and after the last. */
class LineQueue {
  readonly #waiting: Waiting[] = []
  readonly #countOf = new Map<LineKind, number>(LINE_KINDS.map((kind) => [kind, 0]))
  readonly #capacity: number
  readonly #onLost: (kind: LineKind) => void
  #size = 0
  #missingBehind = NOTHING

  constructor(capacity: number, onLost: (kind: LineKind) => void) {
    this.#capacity = capacity
    this.#onLost = onLost
  }

  get first(): Waiting | undefined {
    return this.#waiting[0]
  }

  /** What is missing before the first line; where none waits, at the end. */
  get missing(): Loss {
    return this.first?.missing ?? this.#missingBehind
  }

  set missing(loss: Loss) {
    if (this.first) this.first.missing = loss
    else this.#missingBehind = loss
  }

  remove(index: number): Waiting | undefined {
    const [removed] = this.#waiting.splice(index, 1)
    if (removed === undefined) return undefined
    this.#size -= removed.line.length
    this.#countOf.set(removed.kind, (this.#countOf.get(removed.kind) ?? 0) - 1)
    return removed
  }

  /** Appends a line; if there is no space for it, the least important line is dropped, which may be this one. */
  keep(line: string, kind: LineKind): void {
    while (this.#size + line.length > this.#capacity) {
      if (line.length <= this.#capacity && this.#evict(kind)) continue
      this.#missingBehind = plus(this.#missingBehind, lossOf(kind))
      this.#onLost(kind)
      return
    }
    this.#waiting.push({ line, kind, missing: this.#missingBehind })
    this.#missingBehind = NOTHING
    this.#size += line.length
    this.#countOf.set(kind, (this.#countOf.get(kind) ?? 0) + 1)
  }

  /** Drops the oldest line of the least important kind, if that is less important than `kind`; returns whether it did. */
  #evict(kind: LineKind): boolean {
    const least = LINE_KINDS.find((each) => (this.#countOf.get(each) ?? 0) > 0)
    if (least === undefined || LINE_KINDS.indexOf(least) >= LINE_KINDS.indexOf(kind)) return false
    const index = this.#waiting.findIndex((each) => each.kind === least)
    const gone = this.remove(index)
    if (gone === undefined) return false
    const behind = this.#waiting[index]
    const loss = plus(gone.missing, plus(behind?.missing ?? this.#missingBehind, lossOf(gone.kind)))
    if (behind) behind.missing = loss
    else this.#missingBehind = loss
    this.#onLost(gone.kind)
    return true
  }
}

/** Number of bytes written; 0 if the output is full or closed. */
function bytesTaken(writeSome: (bytes: Uint8Array) => number, bytes: Uint8Array): number {
  try {
    return writeSome(bytes)
  } catch {
    return 0
  }
}

const after = (bytes: Uint8Array, taken: number) => (taken < bytes.length ? bytes.subarray(taken) : NO_BYTES)

const lossOf = (kind: LineKind): Loss => ({ lines: 1, audit: kind === 'audit' ? 1 : 0 })
const plus = (a: Loss, b: Loss): Loss => ({ lines: a.lines + b.lines, audit: a.audit + b.audit })
