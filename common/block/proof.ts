import type { DialResult, Route } from './dial.ts'

type ProofDeps = {
  readonly metadata: readonly string[]
  readonly acceptDrop: boolean
  /** Protects the connections from NAT inside the pod, before every round; returns a message if it failed. */
  readonly prepare: () => Promise<string | undefined>
  readonly routeTo: (address: string) => Promise<Route>
  /** Dials port 80 of an address. */
  readonly dial: (address: string) => Promise<DialResult>
}

/** Outcome of one round. */
export type Proof = {
  /** Every address that this pod has a route to refuses. */
  readonly refused: boolean
  /** The addresses dialled; the others cannot be reached from this pod at all. */
  readonly dialled: readonly string[]
  /** What was seen, for sentences: `169.254.169.254 answered`. Empty when refused. */
  readonly seen: string
  /** Why nothing could be proven at all; then nothing was dialled. */
  readonly fault?: string
}

const REMEDY =
  "the node guard does not block the real metadata endpoint for this pod: see the pod2iam node guard of this pod's node (kubectl get pods -A -o wide), whether kube2iam or kiam still answers there, and whether the node's network bypasses netfilter"

/** Why a round proved nothing, as a message for the operator; undefined if the block is proven. */
export function whyUnproven({ refused, seen, fault }: Proof): string | undefined {
  if (fault !== undefined) return fault
  return refused ? undefined : `${seen}; ${REMEDY}`
}

/** Silence may be a lost packet; this many in a row are a firewall. */
const SILENCES = 3

/**
 * Proves from inside the pod that the real metadata endpoint is refused. Returns a function that makes one round;
 * it remembers how often an address was silent in a row.
 */
export function createProof({
  metadata,
  acceptDrop,
  prepare,
  routeTo,
  dial,
}: ProofDeps): () => Promise<Proof> {
  const silent = new Map<string, number>()

  const isRefused = (address: string, result: DialResult): boolean => {
    const silences = result === 'no-answer' ? (silent.get(address) ?? 0) + 1 : 0
    silent.set(address, silences)
    return result === 'refused' || (acceptDrop && silences >= SILENCES)
  }

  return async function prove() {
    // Routes do not depend on NAT, so they can be looked up at the same time.
    const [fault, routes] = await Promise.all([
      prepare(),
      Promise.all(metadata.map(async (address) => ({ address, route: await routeTo(address) }))),
    ])
    if (fault !== undefined) return { refused: false, dialled: [], seen: '', fault }
    const dialled = routes.filter(({ route }) => route === 'out').map(({ address }) => address)
    const results = await Promise.all(
      dialled.map(async (address) => ({ address, result: await dial(address) })),
    )
    const open = results.filter(({ address, result }) => !isRefused(address, result))
    const seen = open.map(
      ({ address, result }) => `${address} ${result === 'answered' ? 'answered' : 'gave no answer'}`,
    )
    return { refused: open.length === 0, dialled, seen: seen.join(', ') }
  }
}
