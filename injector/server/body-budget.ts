/**
 * Limits the bytes of all bodies in the process so that slow senders cannot keep out the others: if a new body does not fit,
 * the address that uses the most bytes loses its oldest unfinished body.
 */

export type BodyBudget = ReturnType<typeof bodyBudget>
export type Share = ReturnType<BodyBudget['open']>

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

/** As long as a review takes at most when the API server does not answer for its namespace. */
const MAX_WAIT_MS = 2000

/** How much an address may use while one of its reviews is being judged and cannot be dropped: a quarter stays for the others. */
const SHARE_BESIDE_JUDGED = 3 / 4

/**
 * @param maxBytes of all bodies together
 * @param maxWaitMs how long a part of a body waits for space
 */
export function bodyBudget(maxBytes: number, maxWaitMs = MAX_WAIT_MS) {
  // By age, since a Set keeps the order of insertion.
  const bodies = new Set<Body>()
  let left = maxBytes
  const release = (body: Body) => {
    bodies.delete(body)
    left += body.bytes
    body.bytes = 0
    body.state = 'released'
    settle(body, false)
  }
  const take = (body: Body, bytes: number): boolean => {
    if (body.state !== 'arriving') return false
    // Far below the limit there is enough space, without checking the other bodies.
    while (bytes > left - maxBytes * (1 - SHARE_BESIDE_JUDGED)) {
      const room = roomFor(body, bytes, bodies, left, maxBytes)
      if (bytes <= room.bytes) break
      if (room.victim === undefined || room.victim === body) return false
      // An API server sends the reviews of all tenants: none is dropped for another one while waiting may help.
      if (room.victim.address === body.address && isAnyJudged(bodies)) return false
      release(room.victim)
      room.victim.abort()
    }
    left -= bytes
    body.bytes += bytes
    return true
  }
  const serveWaiting = () => {
    const canWait = isAnyJudged(bodies)
    for (const body of waitingInOrder(bodies)) {
      const { waiting } = body
      if (waiting === undefined) continue
      const taken = take(body, waiting.bytes)
      if (taken || !canWait) settle(body, taken)
    }
  }
  return {
    /**
     * One body's share of the budget.
     *
     * @param address of the peer
     * @param abort called once, when the body is dropped
     */
    open(address: string, abort: () => void) {
      const body: Body = { address, abort, bytes: 0, waiting: undefined, state: 'arriving' }
      bodies.add(body)
      return {
        /** Takes bytes. Returns false, and takes none, if there is no room, or if the body was dropped in favour of another one. */
        take: (bytes: number) => take(body, bytes),
        /**
         * Takes the bytes as soon as there is room: a body that is being judged makes room soon. False where this body was dropped,
         * where none is being judged that would make room, or where it takes too long.
         */
        wait(bytes: number) {
          if (body.state !== 'arriving' || !isAnyJudged(bodies)) return Promise.resolve(false)
          return untilSettled(body, bytes, maxWaitMs)
        },
        /** Marks the body as complete: it is judged within seconds and no longer dropped. Returns false if it was already dropped. */
        complete() {
          if (body.state !== 'arriving') return false
          body.state = 'whole'
          return true
        },
        /** Returns all bytes to the budget; further calls do nothing. */
        release() {
          if (body.state === 'released') return
          release(body)
          serveWaiting()
        },
      }
    },
  }
}

/** First those of the address that uses the fewest bytes; those of one address in the order of their arrival. */
function waitingInOrder(bodies: ReadonlySet<Body>): readonly Body[] {
  const held = new Map<string, number>()
  for (const { address, bytes } of bodies) held.set(address, (held.get(address) ?? 0) + bytes)
  return [...bodies]
    .filter(({ waiting }) => waiting !== undefined)
    .sort((a, b) => (held.get(a.address) ?? 0) - (held.get(b.address) ?? 0))
}

/** Whether a part of the body was taken; false where it takes too long. */
function untilSettled(body: Body, bytes: number, maxWaitMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const timeout = setTimeout(() => settle(body, false), maxWaitMs)
  body.waiting = { bytes, resolve }
  return promise.finally(() => clearTimeout(timeout))
}

/** How much the body may take now, and which body must be dropped if it needs more; no `victim` if that could only be a body being judged. */
function roomFor(newcomer: Body, bytes: number, bodies: Iterable<Body>, left: number, maxBytes: number) {
  const held = new Map<string, number>()
  const oldest = new Map<string, Body>()
  let hasJudged = false
  for (const body of bodies) {
    held.set(body.address, (held.get(body.address) ?? 0) + body.bytes)
    if (body.state === 'whole') hasJudged ||= body.address === newcomer.address
    else if (body.bytes > 0 && !oldest.has(body.address)) oldest.set(body.address, body)
  }
  const own = held.get(newcomer.address) ?? 0
  const ceiling = hasJudged ? maxBytes * SHARE_BESIDE_JUDGED - own : Number.POSITIVE_INFINITY
  // If the address is over its own limit, space released by others does not help.
  const isOver = bytes > ceiling
  let [greatest, victim] = [own + bytes, oldest.get(newcomer.address)]
  for (const [address, body] of isOver ? [] : oldest) {
    const total = held.get(address) ?? 0
    if (total > greatest) [greatest, victim] = [total, body]
  }
  return { bytes: Math.min(left, ceiling), victim }
}
