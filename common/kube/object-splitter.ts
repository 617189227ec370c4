/**
 * Splits the JSON of a list or of a watch into its objects while it arrives, so that neither a page nor its objects together
 * are ever in memory as a whole, and drops `managedFields`, which are half of a pod's text and are not used here. It only
 * finds where objects begin and end; JSON.parse checks their content.
 */
import { MAX_OBJECT, oversize } from './json-lines.ts'

const [QUOTE, BACKSLASH, OPEN_ARRAY, CLOSE_ARRAY, OPEN, CLOSE, SPACE] = [
  0x22, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d, 0x20,
]
/** As Go's encoder writes it; in any other spelling they are read like everything else. */
const MANAGED_FIELDS = '"managedFields":'
/** What a list has beside its objects: kind, version, the token of the next page. */
const MAX_ENVELOPE = 256 * 1024

/**
 * @param of `list`: the elements of the list's `items`; `stream`: the objects of a watch, one after the other
 * @param max bytes of an object, less its managedFields
 */
// oxlint-disable-next-line max-lines-per-function -- All of it shares the state of one pass over the bytes.
export function objectSplitter(of: 'list' | 'stream', max: number = MAX_OBJECT) {
  /** How many brackets are open around an object. */
  const outside = of === 'list' ? 2 : 0
  const [kept, envelope] = [pieces(max), pieces(MAX_ENVELOPE)]
  let depth = 0
  let string: StringState = NO_STRING
  let isInItems = of === 'stream'
  /** Brackets open within managedFields; 0 while they are not being skipped. */
  let skipped = 0
  /** The current chunk, and the index in it from which bytes are still to be kept. */
  let [chunk, from]: [Buffer, number] = [Buffer.alloc(0), 0]

  const keep = (until: number, into: Pieces | undefined) => {
    if (skipped === 0 && until > from) into?.add(chunk.subarray(from, until))
    from = until
  }
  /** Where bytes at this depth are kept: in the current object, in the list around the objects, or nowhere between objects. */
  const target = (open: number) => (!isInItems ? envelope : open > outside ? kept : undefined)
  const onOpen = (at: number) => {
    if (isInItems && depth === outside) keep(at, undefined)
    depth++
    if (chunk[at] !== OPEN_ARRAY || skipped > 0) return
    if (endsWith(chunk, at, MANAGED_FIELDS)) {
      keep(at + 1, target(depth - 1))
      skipped = depth
    } else if (of === 'list' && depth === outside) {
      keep(at + 1, envelope)
      isInItems = /"items"\s*:\s*\[$/.test(envelope.text())
    }
  }
  const onClose = (at: number, objects: unknown[]) => {
    if (skipped === depth) {
      skipped = 0
      from = at
    }
    if (isInItems && depth === outside + 1) {
      keep(at + 1, kept)
      objects.push(kept.take())
    } else if (isInItems && depth === outside && of === 'list') {
      keep(at, undefined)
      isInItems = false
    }
    depth--
  }
  /** Skips to the end of the string that contains this index; returns an index after the chunk if it does not end there. */
  const skipString = (at: number) => {
    const end = stringEnd(chunk, at)
    string = end <= chunk.length ? NO_STRING : end === chunk.length + 1 ? IN_STRING : ESCAPE
    return end
  }
  const step = (at: number, byte: number, objects: unknown[]) => {
    if (byte === OPEN || byte === OPEN_ARRAY) onOpen(at)
    else if (byte === CLOSE || byte === CLOSE_ARRAY) onClose(at, objects)
    else if (depth === 0 && byte > SPACE)
      throw new SyntaxError(`no JSON object: ${chunk.toString('latin1', at, at + 40)}`)
  }
  return {
    /** The objects that end in this chunk; {@link oversize} for one that is too large to be kept. @throws {SyntaxError} */
    split(next: Buffer) {
      const objects: unknown[] = []
      chunk = next
      from = 0
      let at = string === NO_STRING ? 0 : skipString(string === ESCAPE ? 1 : 0)
      for (let byte = next[at]; byte !== undefined; byte = next[at]) {
        if (byte === QUOTE) at = skipString(at + 1)
        else step(at++, byte, objects)
      }
      keep(next.length, target(depth))
      return objects
    },
    /** Of a list, once all of it was cut: the list itself, with no items. @throws {SyntaxError} where it is not whole */
    envelope() {
      const list = depth === 0 ? envelope.take() : oversize
      if (list === oversize) throw new SyntaxError('the answer is no whole list')
      return list
    },
  }
}

type StringState = typeof NO_STRING | typeof IN_STRING | typeof ESCAPE
/** Where the last chunk ended: outside of a string, in one, or behind a backslash in one. */
const [NO_STRING, IN_STRING, ESCAPE] = [0, 1, 2] as const

/** The index behind the closing quote; where there is none, one beyond the chunk's length, or two where a backslash is last. */
function stringEnd(chunk: Buffer, from: number): number {
  let at = from
  while (at < chunk.length) {
    const byte = chunk[at]
    if (byte === QUOTE) return at + 1
    at += byte === BACKSLASH ? 2 : 1
  }
  return at + 1
}

function endsWith(chunk: Buffer, at: number, text: string): boolean {
  const start = at - text.length
  return start >= 0 && chunk[start] === QUOTE && chunk.toString('latin1', start, at) === text
}

type Pieces = ReturnType<typeof pieces>

/** Bytes of a value that arrives in pieces; values longer than `max` are not kept. */
function pieces(max: number) {
  let parts: Buffer[] = []
  let size = 0
  const text = () => {
    const [first, ...others] = parts
    if (first === undefined) return ''
    return (others.length === 0 ? first : Buffer.concat([first, ...others])).toString('utf8')
  }
  return {
    text,
    add(part: Buffer) {
      size += part.length
      if (size > max) parts = []
      else parts.push(part)
    },
    /** @throws {SyntaxError} */
    take(): unknown {
      const [isOversize, json] = [size > max, text()]
      parts = []
      size = 0
      return isOversize ? oversize : JSON.parse(json)
    },
  }
}
