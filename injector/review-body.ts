/** Bodies of reviews, read within bounds: of each one, and of all that are in the process at the same time. */

/** Bytes that may be held at the same time, by every request together. */
export type ByteBudget = {
  /** Takes bytes out of the budget; false, and nothing taken, where there are not so many left. */
  readonly take: (bytes: number) => boolean
  readonly giveBack: (bytes: number) => void
}

/** @param most bytes */
export function byteBudget(most: number): ByteBudget {
  let left = most
  return {
    take(bytes) {
      if (bytes > left) return false
      left -= bytes
      return true
    },
    giveBack(bytes) {
      left += bytes
    },
  }
}

/**
 * Members and elements of one review. A pod of 1.5 MiB has some ten thousand; 8 MiB of `[],[],[]` would become 100 MiB
 * of arrays, and one request could end the process.
 */
const MOST_PARTS = 500_000

export type BodyResult =
  /** `bytes` stay taken until whoever uses the text gives them back. */
  | { readonly ok: true; readonly text: string; readonly bytes: number }
  | { readonly ok: false; readonly problem: 'too-large' | 'too-complex' | 'no-budget' }

/**
 * Reads a body. Bytes are counted as they arrive, not as they are announced: else eight idle connections that
 * announce 8 MiB each would keep everybody out for the price of their headers.
 *
 * @param most bytes of this body
 * @throws what the stream throws (the client went away); nothing stays taken
 */
export async function readBody(request: Request, most: number, budget: ByteBudget): Promise<BodyResult> {
  if (Number(request.headers.get('Content-Length') ?? 0) > most) return { ok: false, problem: 'too-large' }
  if (request.body === null) return { ok: true, text: '', bytes: 0 }
  const chunks: Uint8Array[] = []
  let bytes = 0
  let complete = false
  try {
    // Leaving the loop cancels the stream.
    for await (const chunk of request.body) {
      if (bytes + chunk.length > most) return { ok: false, problem: 'too-large' }
      if (!budget.take(chunk.length)) return { ok: false, problem: 'no-budget' }
      bytes += chunk.length
      chunks.push(chunk)
    }
    const body = Buffer.concat(chunks.splice(0))
    if (hasTooManyParts(body)) return { ok: false, problem: 'too-complex' }
    complete = true
    return { ok: true, text: body.toString('utf8'), bytes }
  } finally {
    if (!complete) budget.giveBack(bytes)
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
