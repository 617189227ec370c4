/**
 * Reads only those parts of a review that are used. From a hostile body `JSON.parse` makes up to fifty bytes of objects per byte,
 * and it recurses; a walk over the bytes costs the same for each byte, regardless of the content. So parts that are not used
 * (`managedFields`, `status`, `userInfo`, …) are skipped, and the others are parsed only within bounds.
 */
import { randomInt } from 'node:crypto'

/**
 * What to keep of an object, by key. `head` goes into the small text that always exists, `object` into the one that exists only
 * within its limits. Other keys are skipped, unless they contain an escape: such a key may be any of the named ones.
 */
export type Outline = {
  readonly members: ReadonlyMap<string, 'head' | 'object' | 'both' | Outline>
  /** Whether the `object` text keeps all of it, in addition to what the head keeps. */
  readonly whole?: true
}

/** Limits of one text. */
export type ScanLimits = {
  readonly bytes: number
  /** Members and elements. */
  readonly parts: number
  /** Different keys: V8 looks up each of them and creates a shape for it. */
  readonly keys: number
  readonly depth: number
}

type Scanned =
  | {
      readonly ok: true
      readonly head: string
      /** Undefined if it exceeds a limit; `excess` says which one. */
      readonly object: string | undefined
      readonly excess: keyof ScanLimits | undefined
    }
  | { readonly ok: false; readonly problem: 'not-json' | 'head-too-large' }

/** Different for each process, so that an attacker cannot construct keys with the same hash. */
const SEED = randomInt(2 ** 31)
/** The hashes of the keys in the current walk; shared, since walks never overlap. Of 8,000 different keys one in nine is not counted. */
const KNOWN = new Uint8Array(2 ** 15)

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a]
const [OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE] = [0x5b, 0x5d, 0x7b, 0x7d]
/** From this length on a call into C++ is worth its cost. */
const LONG_TEXT = 64
/** The limit of the API server's own decoder. */
const DEEPEST = 10_000

class Unreadable extends Error {
  readonly problem: 'not-json' | 'head-too-large'
  constructor(problem: 'not-json' | 'head-too-large') {
    super(problem)
    this.problem = problem
  }
}

/**
 * Extracts the parts that the outline names. In the skipped parts only brackets and quotes are checked; both texts still have to be
 * parsed.
 *
 * @param body UTF-8
 * @param limits of the text `head`, beyond which the result is a failure, and of `object`, beyond which that text is undefined
 */
export function scan(body: Buffer, outline: Outline, limits: Record<'head' | 'object', ScanLimits>): Scanned {
  const walk = new Walk(body, new Allowance(limits.head), new Allowance(limits.object))
  try {
    walk.blanks()
    const texts = walk.object(outline)
    if (texts === undefined) throw new Unreadable('not-json')
    walk.blanks()
    if (walk.at < body.length) throw new Unreadable('not-json')
    const { excess } = walk.ofObject
    return { ok: true, head: texts.head, object: excess === undefined ? texts.object : undefined, excess }
  } catch (error) {
    if (error instanceof Unreadable) return { ok: false, problem: error.problem }
    throw error
  }
}

type Texts = { readonly head: string; readonly object: string; readonly depth: number }

/** Tracks how much of a text's limits is used. */
class Allowance {
  readonly #limits: ScanLimits
  #bytes = 0
  #parts = 0
  /** The first limit that was exceeded. */
  excess: keyof ScanLimits | undefined

  constructor(limits: ScanLimits) {
    this.#limits = limits
  }

  /** Adds a part; returns whether it and everything before it is within the limits. */
  take(bytes: number, parts: number, keys: number, depth: number): boolean {
    this.#bytes += bytes
    this.#parts += parts
    if (keys > this.#limits.keys) this.excess ??= 'keys'
    if (this.#bytes > this.#limits.bytes) this.excess ??= 'bytes'
    if (this.#parts > this.#limits.parts) this.excess ??= 'parts'
    if (depth > this.#limits.depth) this.excess ??= 'depth'
    return this.excess === undefined
  }
}

class Walk {
  readonly #body: Buffer
  readonly #ofHead: Allowance
  readonly ofObject: Allowance
  at = 0
  #seen = 0
  /** Whether the current part is kept for the `object` text, so that its keys count. */
  #isKept = false
  #keys = 0
  /** Positions of the next quote and backslash, when they were last looked up. */
  #quote = -1
  #backslash = -1

  constructor(body: Buffer, ofHead: Allowance, ofObject: Allowance) {
    this.#body = body
    this.#ofHead = ofHead
    this.ofObject = ofObject
    KNOWN.fill(0)
  }

  /** Walks over the object that begins here; undefined if another kind of value does. */
  object({ members, whole }: Outline): Texts | undefined {
    const body = this.#body
    if (body[this.at] !== OPEN_BRACE) return undefined
    const [start, seen, wasKept] = [this.at, this.#seen, this.#isKept]
    this.#isKept ||= whole === true
    const head: string[] = []
    const object: string[] = []
    let deepest = 0
    this.at++
    this.blanks()
    if (body[this.at] === CLOSE_BRACE) this.at++
    else
      for (;;) {
        deepest = Math.max(deepest, this.#member(members, head, object))
        this.blanks()
        const byte = body[this.at++]
        if (byte === CLOSE_BRACE) break
        if (byte !== COMMA) throw new Unreadable('not-json')
        this.blanks()
      }
    const depth = deepest + 1
    this.#isKept = wasKept
    return {
      head: `{${head.join(',')}}`,
      object: whole ? this.#kept(start, seen, depth) : `{${object.join(',')}}`,
      depth,
    }
  }

  blanks(): void {
    const body = this.#body
    for (let byte = body[this.at]; byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09; )
      byte = body[++this.at]
  }

  /** Walks over a member; returns the depth of its value. */
  #member(members: Outline['members'], head: string[], object: string[]): number {
    const body = this.#body
    const [start, seen] = [this.at, this.#seen++]
    if (body[this.at] !== QUOTE) throw new Unreadable('not-json')
    const isEscaped = this.#text()
    const keyEnd = this.at - 1
    this.blanks()
    if (body[this.at++] !== COLON) throw new Unreadable('not-json')
    this.blanks()
    const wanted = isEscaped ? 'both' : wantedOf(members, body, start + 1, keyEnd)
    const valueStart = this.at
    if (typeof wanted === 'object') {
      const texts = this.object(wanted)
      if (texts !== undefined) {
        const name = body.toString('utf8', start, valueStart)
        if (!this.#ofHead.take(name.length, 1, 0, 0)) throw new Unreadable('head-too-large')
        head.push(name + texts.head)
        object.push(name + texts.object)
        return texts.depth
      }
    }
    const wasKept = this.#isKept
    this.#isKept ||= wanted !== undefined
    if (this.#isKept) this.#countKey(start + 1, keyEnd)
    const depth = this.#value()
    this.#isKept = wasKept
    if (wanted === undefined) return depth
    if (wanted !== 'object') {
      if (!this.#ofHead.take(this.at - start, this.#seen - seen, 0, depth))
        throw new Unreadable('head-too-large')
      head.push(body.toString('utf8', start, this.at))
    }
    if (wanted !== 'head') object.push(this.#kept(start, seen, depth))
    return depth
  }

  /** The bytes since `start` for the `object` text; empty once that has exceeded a limit. */
  #kept(start: number, seen: number, depth: number): string {
    const fits = this.ofObject.take(this.at - start, this.#seen - seen, this.#keys, depth)
    return fits ? this.#body.toString('utf8', start, this.at) : ''
  }

  /** Walks over any value and counts its members and elements; returns its depth. */
  #value(): number {
    const body = this.#body
    const first = body[this.at]
    if (first === QUOTE) {
      this.#text()
      return 0
    }
    if (first === OPEN_BRACE || first === OPEN_BRACKET) return this.#nested()
    this.#scalar()
    return 0
  }

  #nested(): number {
    const body = this.#body
    const length = body.length
    let [at, parts, depth, deepest] = [this.at, 0, 0, 0]
    while (at < length) {
      const byte = body[at++]
      if (byte === QUOTE) {
        at = this.#textWithin(at)
      } else if (byte === COMMA) parts++
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        parts++
        if (++depth > deepest) deepest = depth
        if (depth > DEEPEST) throw new Unreadable('not-json')
      } else if ((byte === CLOSE_BRACE || byte === CLOSE_BRACKET) && --depth === 0) {
        this.at = at
        this.#seen += parts
        return deepest
      }
    }
    throw new Unreadable('not-json')
  }

  /** Walks over a text whose opening quote is before `at`; returns the position after its end. */
  #textWithin(at: number): number {
    this.at = at - 1
    this.#text()
    const end = this.at
    if (this.#isKept && this.#isKey(end)) this.#countKey(at, end - 1)
    return end
  }

  /** Walks over a text including its quotes; returns whether it contains an escape. */
  #text(): boolean {
    const body = this.#body
    const length = body.length
    let at = this.at + 1
    let near = at + LONG_TEXT
    let isEscaped = false
    while (at < length) {
      const byte = body[at++]
      if (byte === QUOTE) {
        this.at = at
        return isEscaped
      }
      if (byte === BACKSLASH) {
        isEscaped = true
        at++
        near = at + LONG_TEXT
      } else if (at >= near) {
        at = this.#nextSpecial(at)
        near = at + LONG_TEXT
      }
    }
    throw new Unreadable('not-json')
  }

  /** Whether the text that ends before `at` is a key: a colon follows. */
  #isKey(at: number): boolean {
    const byte = this.#body[at]
    if (byte === COLON) return true
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return false
    this.at = at
    this.blanks()
    return this.#body[this.at] === COLON
  }

  #countKey(from: number, to: number): void {
    const body = this.#body
    let hash = SEED
    for (let at = from; at < to; at++) hash = Math.imul(hash ^ (body[at] ?? 0), 0x01000193)
    const bit = (hash ^ (hash >>> 15)) & (KNOWN.length - 1)
    if (KNOWN[bit] === 1) return
    KNOWN[bit] = 1
    this.#keys++
  }

  /** Position of the next quote or backslash. Each is searched for only once, so that the walk stays linear. */
  #nextSpecial(at: number): number {
    const find = (byte: number) => {
      const found = this.#body.indexOf(byte, at)
      return found < 0 ? this.#body.length : found
    }
    if (this.#quote < at) this.#quote = find(QUOTE)
    if (this.#backslash < at) this.#backslash = find(BACKSLASH)
    return Math.min(this.#quote, this.#backslash)
  }

  /** Walks over a number, `true`, `false` or `null`; anything else is found when the text is parsed. */
  #scalar(): void {
    const body = this.#body
    const start = this.at
    for (let byte = body[this.at]; byte !== undefined; byte = body[++this.at])
      if (byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte <= 0x20) break
    if (this.at === start) throw new Unreadable('not-json')
  }
}

/** What the outline says about a key. Most keys differ in length from all named ones and need not be decoded. */
function wantedOf(members: Outline['members'], body: Buffer, from: number, to: number) {
  for (const name of members.keys())
    if (name.length === to - from) return members.get(body.toString('latin1', from, to))
  return undefined
}
