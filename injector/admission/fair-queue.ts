/**
 * Fair queueing for the one core that judges reviews: first between addresses, then between the namespaces of an address. The
 * one that has used the least time goes first, so a tenant with heavy reviews delays only itself. After Demers, Keshav and
 * Shenker, "Analysis and Simulation of a Fair Queueing Algorithm" (1989), with the cost of a review in place of a packet's length.
 */

type Turn = {
  /** The peer's address: an API server's, or that of a pod that sends reviews itself. */
  readonly address: string
  /** Empty while it is not known. */
  readonly namespace: string
  /** Size of the review, from which its time is estimated. */
  readonly bytes: number
}

export type FairQueue = {
  /** Does the work when its turn comes; rejects with what the work throws. The work must be synchronous. */
  readonly take: <T>(turn: Turn, work: () => T) => Promise<T>
}

/** A queue that does all work immediately: for callers with a single peer. */
export const UNQUEUED: FairQueue = { take: async (_turn, work) => work() }

/** After this time the event loop gets to its sockets again. */
const SLICE_MS = 10
const ESTIMATED_MS_PER_BYTE = 10e-6
const ESTIMATED_MS = 0.5
/** Beyond this number idle flows are forgotten, together with the time they have used. */
const MAX_IDLE = 2048

type Job = { readonly estimate: number; readonly run: () => void }
type Used = { used: number; waiting: number }
type Flow = Used & { readonly jobs: Job[] }
type Peer = Used & Flows<Flow>
type Flows<T> = { readonly members: Map<string, T>; now: number }

/**
 * @param clock milliseconds, monotonic
 * @param later calls back after the event loop has handled its sockets
 */
export function fairQueue(clock: () => number, later: (work: () => void) => void = setImmediate): FairQueue {
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
    // When no job waits, fairness does not matter.
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
      flow.jobs.push({ estimate: costOf(ESTIMATED_MS + bytes * ESTIMATED_MS_PER_BYTE), run })
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
 * The time plus half its square: a review that takes a hundred times longer than a pod's costs five thousand times as much, so
 * a hundred addresses that send only such reviews leave most of the core to the one that sends pods.
 */
function costOf(milliseconds: number): number {
  return milliseconds + milliseconds ** 2 / 2
}

function runNext(peers: Flows<Peer>, clock: () => number): void {
  const peer = next(peers, (one) => next(one, estimateOf)?.jobs[0]?.estimate)
  const flow = peer && next(peer, estimateOf)
  const job = flow?.jobs.shift()
  if (peer === undefined || flow === undefined || job === undefined) return
  peers.now = Math.max(peers.now, peer.used)
  peer.now = Math.max(peer.now, flow.used)
  const started = clock()
  job.run()
  const cost = costOf(clock() - started)
  for (const one of [peer, flow]) {
    one.used += cost
    one.waiting--
  }
}

const estimateOf = ({ jobs }: Flow) => jobs[0]?.estimate

/** Among those with a job, the one that will have used the least after it; undefined if none has a job. */
function next<T extends Used>(
  { members }: Flows<T>,
  estimate: (one: T) => number | undefined,
): T | undefined {
  let [best, least]: [T | undefined, number] = [undefined, Number.POSITIVE_INFINITY]
  for (const one of members.values()) {
    const after = one.used + (estimate(one) ?? Number.POSITIVE_INFINITY)
    if (after < least) [best, least] = [one, after]
  }
  return best
}

/** The flow or peer with this key, with one more waiting job. One that was idle starts level with the others: idle time is not saved up. */
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
