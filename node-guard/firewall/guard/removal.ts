import type { Logger } from '../../../common/log.ts'
import type { Exec } from '../exec.ts'
import { deleteTable, readTable } from '../nft-table.ts'
import { type Block, type BlockState, NO_PACKETS, NO_REPAIRS } from './block.ts'
import { removeLink } from './link.ts'
import { GUARD_TABLE } from './ruleset.ts'

/**
 * Takes away exactly what is the guard's: its table and its link. Returns what is still there and why, as one
 * sentence, or undefined when nothing of ours is left.
 */
export async function removeAll(exec: Exec): Promise<string | undefined> {
  const failures = [await removeTable(exec), await removeLink(exec)].filter(
    (failure) => failure !== undefined,
  )
  return failures.length > 0 ? failures.join('; ') : undefined
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
    const detail = await removeAll(options.exec)
    if (detail !== undefined && detail !== verdict.detail) options.log.error('not removed', { detail })
    if (detail === undefined && !verdict.verified)
      options.log.info('rules and link removed: this node is open')
    verdict = { verified: detail === undefined, checkedAt: options.now(), detail }
  }
  return { check, state: () => ({ ...verdict, packets: NO_PACKETS, repairs: NO_REPAIRS }) }
}

async function removeTable(exec: Exec): Promise<string | undefined> {
  const before = await readTable(exec, GUARD_TABLE)
  if (!before.ok) return before.detail
  if (before.content === undefined) return undefined
  const failed = await deleteTable(exec, GUARD_TABLE)
  if (failed !== undefined) return failed
  const after = await readTable(exec, GUARD_TABLE)
  if (!after.ok) return after.detail
  return after.content === undefined
    ? undefined
    : `table ${GUARD_TABLE} came back: another guard runs on this node; end that one first`
}
