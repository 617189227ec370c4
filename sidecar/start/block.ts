/** The proof, in a pod of one stage, that the real metadata endpoint is refused: what the gate does in a pod of two. */

import { type Proof, whyUnproven } from '../../common/block/proof.ts'
import type { SteadyClock } from '../../common/clock.ts'
import type { Logger } from '../../common/log.ts'
import { repeat } from '../repeat.ts'

/** Between two rounds; the gate's `--proof-interval`. */
export const PROOF_INTERVAL_MS = 1000

export type ProofMode = 'off' | 'enforce' | 'report'

type BlockProofDeps = {
  /** `off`: the gate does it, and this has passed. `report`: one round, whatever it sees is logged and passes. */
  readonly mode: ProofMode
  /** One round, never rejects. */
  readonly prove: () => Promise<Proof>
  readonly clock: SteadyClock
  readonly log: Logger
}

/** A proof, to be started. */
export function blockProofOf({ mode, prove, clock, log }: BlockProofDeps) {
  let passed = mode === 'off'
  let reason: string | undefined
  const round = async () => {
    const proof = await prove()
    reason = whyUnproven(proof)
    if (reason === undefined) logPassed(log, proof)
    else if (mode === 'report') log.warn('block not proven, going on (--proof=report)', { detail: reason })
    passed = reason === undefined || mode === 'report'
  }
  return {
    /** Whether the block is proven, or need not be. */
    passed: () => passed,
    /** What the last round saw, a sentence for people; undefined before the first, and where it passed. */
    reason: () => (passed ? undefined : reason),
    /** Makes rounds until one passes. */
    start: () => {
      if (passed) return { stop: () => {} }
      return repeat(clock, async () => {
        await round()
        return passed ? undefined : PROOF_INTERVAL_MS
      })
    },
  }
}

function logPassed(log: Logger, { dialled }: Proof): void {
  if (dialled.length > 0) log.info('block proven', { refused: dialled })
  else log.info('no real metadata endpoint can be reached', { detail: 'this pod has no route to one' })
}
