/**
 * Bytes of bodies that may be in the process at the same time, in such a way that who sends slowly cannot keep the others
 * out: where there is no room for a newcomer, the address that holds most loses its oldest unfinished body.
 */

/** One body's part of the budget. */
export type Share = {
  /** False, and nothing taken, where there is no room, or where the body was given up for another one. */
  readonly take: (bytes: number) => boolean
  /**
   * Takes them when there is room: bodies that are being judged are over soon. False where the body was given up, where
   * nothing is being judged that could be waited for, or where it takes too long.
   */
  readonly wait: (bytes: number) => Promise<boolean>
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
  waiting: Waiting | undefined
  state: 'arriving' | 'whole' | 'released'
}

type Waiting = { readonly bytes: number; readonly resolve: (taken: boolean) => void }

function settle(body: Body, taken: boolean): void {
  body.waiting?.resolve(taken)
  body.waiting = undefined
}

const isAnyJudged = (bodies: ReadonlySet<Body>) => [...bodies].some(({ state }) => state === 'whole')

/** As long as a review takes at most whose namespace the API server does not tell. */
const LONGEST_WAIT_MS = 2000

/**
 * @param most bytes
 * @param longestWait milliseconds
 */
export function bodyBudget(most: number, longestWait = LONGEST_WAIT_MS): BodyBudget {
  // By age, since a Set keeps the order of insertion.
  const bodies = new Set<Body>()
  let left = most
  const release = (body: Body) => {
    bodies.delete(body)
    left += body.bytes
    body.bytes = 0
    body.state = 'released'
    settle(body, false)
  }
  const take = (body: Body, bytes: number): boolean => {
    if (body.state !== 'arriving') return false
    // Far from the bound nobody needs to be looked at.
    while (bytes > left - most * (1 - SHARE_BESIDE_JUDGED)) {
      const room = roomFor(body, bytes, bodies, left, most)
      if (bytes <= room.bytes) break
      if (room.victim === undefined || room.victim === body) return false
      // An API server speaks for all tenants: none of its reviews is given up for another while waiting may help.
      if (room.victim.address === body.address && isAnyJudged(bodies)) return false
      release(room.victim)
      room.victim.abort()
    }
    left -= bytes
    body.bytes += bytes
    return true
  }
  /** Those of the address that holds least first, of one address in the order in which they came. */
  const serveWaiting = () => {
    const held = new Map<string, number>()
    for (const { address, bytes } of bodies) held.set(address, (held.get(address) ?? 0) + bytes)
    const canWait = isAnyJudged(bodies)
    const inOrder = [...bodies]
      .filter(({ waiting }) => waiting !== undefined)
      .sort((a, b) => (held.get(a.address) ?? 0) - (held.get(b.address) ?? 0))
    for (const body of inOrder) {
      const { waiting } = body
      if (waiting === undefined) continue
      const taken = take(body, waiting.bytes)
      if (taken || !canWait) settle(body, taken)
    }
  }
  return {
    open(address, abort) {
      const body: Body = { address, abort, bytes: 0, waiting: undefined, state: 'arriving' }
      bodies.add(body)
      return {
        take: (bytes) => take(body, bytes),
        wait(bytes) {
          const { promise, resolve } = Promise.withResolvers<boolean>()
          if (body.state !== 'arriving' || !isAnyJudged(bodies)) resolve(false)
          else {
            const timeout = setTimeout(() => settle(body, false), longestWait)
            promise.finally(() => clearTimeout(timeout))
            body.waiting = { bytes, resolve }
          }
          return promise
        },
        complete() {
          if (body.state !== 'arriving') return false
          body.state = 'whole'
          return true
        },
        release() {
          if (body.state === 'released') return
          release(body)
          serveWaiting()
        },
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
