/**
 * Turns on the one core that judges: first between addresses, then between namespaces of an address. Who has used least
 * goes first, so a tenant with heavy reviews waits for its own turn and nobody else does. After Demers, Keshav and Shenker,
 * "Analysis and Simulation of a Fair Queueing Algorithm" (1989), with the price of a review in place of a packet's length.
 */

export type Turn = {
  /** Of the peer: an API server's, or that of whichever pod sends reviews of its own. */
  readonly address: string
  /** Empty where it is not known yet. */
  readonly namespace: string
  /** Of the review, from which its time is guessed. */
  readonly bytes: number
}

export type FairTurns = {
  /** Does the work when its turn comes; rejects with what it throws. It must not wait for anything. */
  readonly take: <T>(turn: Turn, work: () => T) => Promise<T>
}

/** For whoever has nobody to be fair to. */
export const AT_ONCE: FairTurns = { take: async (_turn, work) => work() }

/** Time after which sockets are looked at again. */
const SLICE_MS = 10
const GUESSED_MS_PER_BYTE = 10e-6
const GUESSED_MS = 0.5
/** Beyond it idle ones are forgotten, with what they owe. */
const MAX_IDLE = 2048

type Job = { readonly guess: number; readonly run: () => void }
type Used = { used: number; waiting: number }
type Flow = Used & { readonly jobs: Job[] }
type Peer = Used & Flows<Flow>
type Flows<T> = { readonly members: Map<string, T>; now: number }

/**
 * @param clock milliseconds, monotonic
 * @param later calls back when the event loop has looked at its sockets
 */
export function fairTurns(clock: () => number, later: (work: () => void) => void = setImmediate): FairTurns {
  const peers: Flows<Peer> = { members: new Map(), now: 0 }
  let waiting = 0
  let isRunning = false

  const runSome = () => {
    const end = clock() + SLICE_MS
    do {
      runNext(peers, clock)
      waiting--
    } while (waiting > 0 && clock() < end)
    if (waiting > 0) return later(runSome)
    isRunning = false
    // Where nobody waits nobody owes anything.
    peers.members.clear()
  }
  return {
    take: ({ address, namespace, bytes }, work) => {
      const { promise, resolve, reject } = Promise.withResolvers<ReturnType<typeof work>>()
      const run = () => {
        try {
          resolve(work())
        } catch (error) {
          reject(error)
        }
      }
      const peer = entered(peers, address, () => ({
        used: 0,
        waiting: 0,
        members: new Map<string, Flow>(),
        now: 0,
      }))
      const flow = entered(peer, namespace, () => ({ used: 0, waiting: 0, jobs: [] }))
      flow.jobs.push({ guess: priceOf(GUESSED_MS + bytes * GUESSED_MS_PER_BYTE), run })
      waiting++
      if (!isRunning) {
        isRunning = true
        later(runSome)
      }
      return promise
    },
  }
}

/**
 * Its time and half its square: a review that takes a hundred times longer than that of a pod costs five thousand times as
 * much, so that a hundred addresses with nothing but such reviews leave most of the core to the one with pods.
 */
function priceOf(milliseconds: number): number {
  return milliseconds + milliseconds ** 2 / 2
}

function runNext(peers: Flows<Peer>, clock: () => number): void {
  const peer = next(peers, (one) => next(one, guessOf)?.jobs[0]?.guess)
  const flow = peer && next(peer, guessOf)
  const job = flow?.jobs.shift()
  if (peer === undefined || flow === undefined || job === undefined) return
  peers.now = Math.max(peers.now, peer.used)
  peer.now = Math.max(peer.now, flow.used)
  const started = clock()
  job.run()
  const price = priceOf(clock() - started)
  for (const one of [peer, flow]) {
    one.used += price
    one.waiting--
  }
}

const guessOf = ({ jobs }: Flow) => jobs[0]?.guess

/** The one with something to do that would have used least after it; undefined where none has. */
function next<T extends Used>({ members }: Flows<T>, guess: (one: T) => number | undefined): T | undefined {
  let [best, least]: [T | undefined, number] = [undefined, Number.POSITIVE_INFINITY]
  for (const one of members.values()) {
    const after = one.used + (guess(one) ?? Number.POSITIVE_INFINITY)
    if (after < least) [best, least] = [one, after]
  }
  return best
}

/** Counts one more that waits. Who has been idle begins where the others are: idle time is not saved up. */
function entered<T extends Used>(flows: Flows<T>, key: string, fresh: () => T): T {
  const known = flows.members.get(key)
  const one = known ?? fresh()
  if (one.waiting++ === 0) one.used = Math.max(one.used, flows.now)
  if (known === undefined) {
    if (flows.members.size >= MAX_IDLE) forgetIdle(flows)
    flows.members.set(key, one)
  }
  return one
}

function forgetIdle({ members }: Flows<Used>): void {
  for (const [key, { waiting }] of members) if (waiting === 0) members.delete(key)
}
