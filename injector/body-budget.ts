/**
 * Bytes of bodies that may be in the process at the same time, in such a way that who sends slowly cannot keep the others
 * out: where there is no room for a newcomer, the address that holds most loses its oldest unfinished body.
 */

/** One body's part of the budget. */
export type Share = {
  /** False, and nothing taken, where there is no room, or where the body was given up for another one. */
  readonly take: (bytes: number) => boolean
  /** Says that all of it has arrived: it is judged within seconds and no longer given up. False where it was before. */
  readonly complete: () => boolean
  /** Gives everything back; calling it again does nothing. */
  readonly release: () => void
}

export type BodyBudget = {
  /**
   * @param address of the peer
   * @param abort told once, when the body is given up
   */
  readonly open: (address: string, abort: () => void) => Share
}

type Body = {
  readonly address: string
  readonly abort: () => void
  bytes: number
  state: 'arriving' | 'whole' | 'released'
}

/** @param most bytes */
export function bodyBudget(most: number): BodyBudget {
  // By age, since a Set keeps the order of insertion.
  const bodies = new Set<Body>()
  let left = most
  const release = (body: Body) => {
    bodies.delete(body)
    left += body.bytes
    body.bytes = 0
    body.state = 'released'
  }
  return {
    open(address, abort) {
      const body: Body = { address, abort, bytes: 0, state: 'arriving' }
      bodies.add(body)
      return {
        take(bytes) {
          if (body.state !== 'arriving') return false
          // Far from the bound nobody needs to be looked at.
          while (bytes > left - most * (1 - SHARE_BESIDE_JUDGED)) {
            const room = roomFor(body, bytes, bodies, left, most)
            if (bytes <= room.bytes) break
            if (room.victim === undefined || room.victim === body) return false
            release(room.victim)
            room.victim.abort()
          }
          left -= bytes
          body.bytes += bytes
          return true
        },
        complete() {
          if (body.state !== 'arriving') return false
          body.state = 'whole'
          return true
        },
        release: () => release(body),
      }
    },
  }
}

/** Bytes of an address that has a review being judged already: a quarter stays for the others, since that one cannot be ended. */
const SHARE_BESIDE_JUDGED = 3 / 4

/** How much the body may take now, and who has to go for more of it; nobody where it would be its own peer's judged ones. */
function roomFor(newcomer: Body, bytes: number, bodies: Iterable<Body>, left: number, most: number) {
  const held = new Map<string, number>()
  const oldest = new Map<string, Body>()
  let hasJudged = false
  for (const body of bodies) {
    held.set(body.address, (held.get(body.address) ?? 0) + body.bytes)
    if (body.state === 'whole') hasJudged ||= body.address === newcomer.address
    else if (body.bytes > 0 && !oldest.has(body.address)) oldest.set(body.address, body)
  }
  const own = held.get(newcomer.address) ?? 0
  const ceiling = hasJudged ? most * SHARE_BESIDE_JUDGED - own : Number.POSITIVE_INFINITY
  // Then room that others make would not help.
  const isOver = bytes > ceiling
  let [greatest, victim] = [own + bytes, oldest.get(newcomer.address)]
  for (const [address, body] of isOver ? [] : oldest) {
    const total = held.get(address) ?? 0
    if (total > greatest) [greatest, victim] = [total, body]
  }
  return { bytes: Math.min(left, ceiling), victim }
}
