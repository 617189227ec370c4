import type { Logger } from '../../../common/log.ts'
import { BOOT_UNIT_LEFT, loadsBootRules } from '../boot/installed.ts'
import type { Backend } from '../guard/backend.ts'
import { findBackends } from '../guard/backends.ts'
import { type Block, type BlockState, NO_PACKETS, NO_REPAIRS } from '../guard/block.ts'
import { makeRoom } from '../nft/owned-table.ts'
import { deleteTable } from '../nft/table.ts'
import { removeAnswers } from '../node/answer-routes.ts'
import { removeLink } from '../node/broker-link.ts'
import { LOOK_TABLE } from '../node/imds-options.ts'
import type { Exec } from '../process/exec.ts'

type Removal = {
  /** What is still there and why, as one sentence; undefined when nothing of ours is left. */
  readonly failed: string | undefined
  /** Where nobody could look: backends that cannot be used here, and so have left nothing. */
  readonly skipped: readonly string[]
  /** The node loads rules at its boot, from a file that is not the guard's. */
  readonly bootRules: boolean
}

/** Takes away exactly what is the guard's: its rules by whatever backend, and its link. */
export async function removeAll(exec: Exec): Promise<Removal> {
  const { failures, skipped } = await removeRules(findBackends(exec, 'auto').all)
  const owned = await makeRoom(exec)
  if (owned?.unusable === false) failures.push(owned.detail)
  // The guard's look at the metadata service leaves this one, when the guard is killed meanwhile.
  if (owned === undefined) await deleteTable(exec, LOOK_TABLE)
  const left = [await removeAnswers(exec), await removeLink(exec)].filter((detail) => detail !== undefined)
  const told = [...failures, ...left]
  return {
    failed: told.length > 0 ? told.join('; ') : undefined,
    skipped,
    // What tells of them stays: their file does.
    bootRules: await loadsBootRules(exec),
  }
}

/** In the place of a block, for `guard --mode=remove`: verified means that nothing of ours is there. */
export function createRemovalBlock(options: {
  readonly exec: Exec
  readonly now: () => number
  readonly log: Logger
}): Block {
  let verdict: Pick<BlockState, 'verified' | 'checkedAt' | 'detail'> = {
    verified: false,
    checkedAt: undefined,
    detail: 'the rules have not been removed yet',
  }
  const check = async () => {
    const { failed: detail, skipped, bootRules } = await removeAll(options.exec)
    if (detail !== undefined && detail !== verdict.detail) options.log.error('not removed', { detail })
    if (detail === undefined && !verdict.verified) {
      options.log.info('rules and link removed: this node is open', { skipped })
      if (bootRules) options.log.warn('rules of boot left', { detail: BOOT_UNIT_LEFT })
    }
    verdict = { verified: detail === undefined, checkedAt: options.now(), detail }
  }
  return {
    check,
    state: () => ({
      ...verdict,
      backend: undefined,
      fallback: undefined,
      othersLeft: undefined,
      packets: NO_PACKETS,
      repairs: NO_REPAIRS,
    }),
  }
}

async function removeRules(
  backends: readonly Backend[],
): Promise<{ readonly failures: string[]; readonly skipped: readonly string[] }> {
  const failures: string[] = []
  const skipped: string[] = []
  for (const backend of backends) {
    const result = await backend.remove()
    if (typeof result !== 'string')
      (result.unusable && !result.mayStand ? skipped : failures).push(result.detail)
  }
  // With nothing that works, nobody has looked.
  const looked = skipped.length + failures.length < backends.length
  return looked ? { failures, skipped } : { failures: [...failures, ...skipped], skipped: [] }
}
