/** The sidecar's part in the start of a pod of one stage: the proof of the block, and the hold until everything is ready. */
import { existsSync } from 'node:fs'
import { METADATA_ADDRESSES } from '../../common/addresses.ts'
import type { Proof } from '../../common/block/proof.ts'
import type { SteadyClock } from '../../common/clock.ts'
import type { Readiness } from '../../common/health.ts'
import type { Logger } from '../../common/log.ts'
import type { PodState } from '../broker/outcome.ts'
import type { SidecarSettings } from '../settings.ts'
import { blockProofOf, PROOF_INTERVAL_MS } from './block.ts'
import { holdStart } from './hold.ts'

type StartDeps = {
  readonly clock: SteadyClock
  readonly log: Logger
  /** One round of the proof, never rejects. */
  readonly prove?: (() => Promise<Proof>) | undefined
  /** Called with the reason when the pod's start is not held any longer: the process has to end, so that its hook fails. */
  readonly giveUp: (sentence: string) => void
}

/**
 * The start of this process's pod. If the file exists the application already runs, and this is a restart beside it: then nothing
 * is proven again or held. The file lies in /dev/shm, which the pod's containers share and which goes with its sandbox.
 */
export function startOf(
  { proof, acceptDrop, startedFile: file }: SidecarSettings,
  { clock, log, prove = proofOf(acceptDrop), giveUp }: StartDeps,
) {
  const isStarted = file !== '' && existsSync(file)
  const block = blockProofOf({ mode: isStarted ? 'off' : proof, prove, clock, log })
  return {
    /** Whether the block is proven, or is the gate's to prove. */
    blockPassed: block.passed,
    blockReason: block.reason,
    /** @param askPod asks the broker whether the pod stays; never rejects */
    begin: (readiness: () => Readiness, askPod: () => Promise<PodState>) => {
      if (isStarted) log.info('the pod has started before: nothing waits for this container')
      const holds = file !== '' && !isStarted
      return [
        block.start(),
        ...(holds
          ? [holdStart({ file, readiness, blockReason: block.reason, askPod, clock, log, giveUp })]
          : []),
      ]
    },
  }
}

/** Loaded where it is needed: a pod of two stages does not pay for it. */
function proofOf(acceptDrop: boolean): () => Promise<Proof> {
  let round: (() => Promise<Proof>) | undefined
  return async () => {
    if (round === undefined) {
      const { createProof } = await import('../../common/block/proof.ts')
      const { dial, routeTo } = await import('../../common/block/dial.ts')
      round = createProof({
        metadata: METADATA_ADDRESSES,
        acceptDrop,
        // Without a redirect there is no NAT of ours in the way.
        prepare: async () => undefined,
        routeTo,
        dial: (address) => dial(address, 80, PROOF_INTERVAL_MS),
      })
    }
    return round()
  }
}
