/** Bodies of reviews, read within bounds: of each one, and of all that are in the process at the same time. */
import type { Readable } from 'node:stream'
import { Body } from './body.ts'
import type { BodyBudget } from './body-budget.ts'
import { type Pace, type Pacing, pacing } from './pacing.ts'

/** More than any but one in a thousand reviews; what has arrived by then is in one read of the socket. */
const LARGE = 64 * 1024

export type BodyResult =
  /** The bytes stay taken until whoever uses them calls `release`; then there are none left. */
  | { readonly ok: true; readonly body: Body; readonly release: () => void }
  | { readonly ok: false; readonly problem: 'too-large' | 'no-budget' }

/**
 * Reads a body. Bytes are counted as they arrive, not as they are announced: else eight idle connections that
 * announce 8 MiB each would keep everybody out for the price of their headers. Where there is no room for what has arrived, its
 * sender waits, and TCP lets it know.
 *
 * @param body of the request: Node's own stream, since a web stream in front of it costs three times the rest
 * @param announced its `Content-Length`, or 0
 * @param most bytes of this body
 * @param address of the peer, for the budget's fairness
 * @param turns of all bodies that are large
 * @throws what the stream throws (the client went away); nothing stays taken
 */
export async function readBody(
  body: Readable,
  announced: number,
  most: number,
  budget: BodyBudget,
  address: string,
  turns: Pacing = pacing(),
): Promise<BodyResult> {
  if (announced > most) return { ok: false, problem: 'too-large' }
  const { promise: ended, resolve, reject } = Promise.withResolvers<BodyResult['ok'] | BodyProblem>()
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
    if (bytes > most) return resolve('too-large')
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
  const onEnd = () => resolve(share.complete() ? true : 'no-budget')
  const onClose = () => reject(new Error('the client went away'))
  body.on('data', onData).once('end', onEnd).once('error', reject).once('close', onClose)
  try {
    const problem = await ended
    if (problem === true) {
      const whole = new Body([...chunks])
      const release = () => {
        share.release()
        whole.clear()
      }
      return { ok: true, body: whole, release }
    }
    share.release()
    return { ok: false, problem: problem as BodyProblem }
  } catch (error) {
    share.release()
    throw error
  } finally {
    isOver = true
    pace?.end()
    // What comes after that is of no use to anybody; an error of it must not be thrown.
    body.off('data', onData).off('end', onEnd).off('error', reject).off('close', onClose)
    body.on('error', () => undefined).pause()
    chunks.length = 0
  }
}

type BodyProblem = (BodyResult & { readonly ok: false })['problem']
