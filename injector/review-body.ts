/** Bodies of reviews, read within bounds: of each one, and of all that are in the process at the same time. */
import type { BodyBudget } from './body-budget.ts'

/**
 * Members and elements of one review. A pod of 1.5 MiB has some ten thousand; 8 MiB of `[],[],[]` would become 100 MiB
 * of arrays, and one request could end the process.
 */
const MOST_PARTS = 500_000

export type BodyResult =
  /** The bytes stay taken until whoever uses the text calls `release`. */
  | { readonly ok: true; readonly text: string; readonly release: () => void }
  | { readonly ok: false; readonly problem: 'too-large' | 'too-complex' | 'no-budget' }

/**
 * Reads a body. Bytes are counted as they arrive, not as they are announced: else eight idle connections that
 * announce 8 MiB each would keep everybody out for the price of their headers.
 *
 * @param most bytes of this body
 * @param address of the peer, for the budget's fairness
 * @throws what the stream throws (the client went away); nothing stays taken
 */
export async function readBody(
  request: Request,
  most: number,
  budget: BodyBudget,
  address: string,
): Promise<BodyResult> {
  if (Number(request.headers.get('Content-Length') ?? 0) > most) return { ok: false, problem: 'too-large' }
  if (request.body === null) return { ok: true, text: '', release() {} }
  const reader = request.body.getReader()
  const chunks: Uint8Array[] = []
  let bytes = 0
  const share = budget.open(address, () => {
    chunks.length = 0
    // The read that is waited for ends with `done`.
    stop()
  })
  const stop = () => void reader.cancel().catch(() => undefined)
  let complete = false
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      bytes += part.value.length
      if (bytes > most) return { ok: false, problem: 'too-large' }
      if (!share.take(part.value.length)) return { ok: false, problem: 'no-budget' }
      chunks.push(part.value)
    }
    if (!share.complete()) return { ok: false, problem: 'no-budget' }
    const body = Buffer.concat(chunks.splice(0))
    if (hasTooManyParts(body)) return { ok: false, problem: 'too-complex' }
    complete = true
    return { ok: true, text: body.toString('utf8'), release: share.release }
  } finally {
    if (!complete) {
      share.release()
      stop()
    }
  }
}

/** By the characters that begin a part, those in texts included: an upper bound for the price of a glance. */
function hasTooManyParts(body: Buffer): boolean {
  if (body.length <= MOST_PARTS) return false
  let parts = 0
  // By index: an iterator takes several times as long for eight million bytes.
  for (let at = 0; at < body.length && parts <= MOST_PARTS; at++) {
    const byte = body[at]
    if (byte === COMMA || byte === BRACKET || byte === BRACE) parts++
  }
  return parts > MOST_PARTS
}

const [COMMA, BRACKET, BRACE] = [0x2c, 0x5b, 0x7b]
