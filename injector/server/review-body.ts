/** Reads the bodies of reviews within two bounds: on each body, and on all bodies in the process. */
import type { Readable } from 'node:stream'
import type { BodyBudget, Share } from './body-budget.ts'
import { type Pace, type Pacing, pacing } from './pacing.ts'

const NOTHING = Buffer.alloc(0)
/** As large as the largest body so far; {@link allocateSharedBuffer} gives it its final size. */
let shared = NOTHING

/**
 * A body in the parts in which it arrived. A reader gets all parts in one buffer that all bodies share: allocating megabytes for
 * each body fragments the C library's heap, and a process that has read a hundred thousand bodies would hold twice the memory it
 * uses.
 */
class Body {
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
export function allocateSharedBuffer(bytes: number): void {
  if (shared.length < bytes) shared = Buffer.allocUnsafeSlow(bytes)
}

/** Only one in a thousand reviews is larger; up to this size a body arrives in one read of the socket. */
const LARGE = 64 * 1024

type BodyProblem = 'too-large' | 'no-budget'
type BodyResult =
  /** The bytes count against the budget until the caller calls `release`, after which the body is empty. */
  | { readonly ok: true; readonly body: Body; readonly release: () => void }
  | { readonly ok: false; readonly problem: BodyProblem }

/**
 * Reads a body. Bytes are counted as they arrive, not as they are announced: otherwise eight idle connections that each announce
 * 8 MiB would block all others at the cost of their headers. If what has arrived does not fit, reading pauses, and
 * TCP's flow control slows the sender.
 *
 * @param body of the request: Node's own stream, since a web stream around it costs three times as much as everything else
 * @param announced its `Content-Length`, or 0
 * @param max bytes of this body
 * @param address of the peer, for the budget's fairness
 * @param turns pacing of all large bodies
 * @throws what the stream throws (the client went away); its bytes are released
 */
export async function readBody(
  body: Readable,
  announced: number,
  max: number,
  budget: BodyBudget,
  address: string,
  turns: Pacing = pacing(),
): Promise<BodyResult> {
  if (announced > max) return { ok: false, problem: 'too-large' }
  const { promise: ended, resolve, reject } = Promise.withResolvers<BodyProblem | undefined>()
  const chunks: Buffer[] = []
  let [bytes, isOver] = [0, false]
  let pace: Pace | undefined
  const resume = () => {
    if (!isOver) body.resume()
  }
  const share = budget.open(address, () => {
    chunks.length = 0
    resolve('no-budget')
  })
  const onData = (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > max) return resolve('too-large')
    if (bytes > LARGE) pace ??= turns.begin()
    if (share.take(chunk.length)) {
      chunks.push(chunk)
      if (pace?.mustWait(resume)) body.pause()
      return
    }
    body.pause()
    share.wait(chunk.length).then((taken) => {
      if (!taken) return resolve('no-budget')
      chunks.push(chunk)
      resume()
    }, reject)
  }
  const onEnd = () => resolve(share.complete() ? undefined : 'no-budget')
  const onClose = () => reject(new Error('the client went away'))
  body.on('data', onData).once('end', onEnd).once('error', reject).once('close', onClose)
  try {
    const problem = await ended
    if (problem === undefined) return kept([...chunks], share)
    share.release()
    return { ok: false, problem }
  } catch (error) {
    share.release()
    throw error
  } finally {
    isOver = true
    pace?.end()
    // What still arrives is ignored, and an error of the stream must not be thrown.
    body.off('data', onData).off('end', onEnd).off('error', reject).off('close', onClose)
    body.on('error', () => undefined).pause()
    chunks.length = 0
  }
}

function kept(parts: readonly Buffer[], share: Share): BodyResult {
  const body = new Body(parts)
  const release = () => {
    share.release()
    body.clear()
  }
  return { ok: true, body, release }
}
