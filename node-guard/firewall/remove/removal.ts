import type { Logger } from '../../../common/log.ts'
import type { Backend } from '../backend/backend.ts'
import { NO_PACKETS } from '../backend/counts.ts'
import { findBackends } from '../block/backends.ts'
import { type Block, type BlockState, NO_REPAIRS } from '../block/block.ts'
import { BOOT_UNIT_LEFT, loadsBootRules } from '../boot/installed.ts'
import { removeHostNetwork } from '../host-network/backends.ts'
import { removeUnownedTable } from '../nft/owned-table.ts'
import { deleteTable } from '../nft/table.ts'
import { removeLink } from '../node/broker-link.ts'
import { IMDS_PROBE_TABLE } from '../node/imds-options.ts'
import { removeReturnRoutes } from '../node/return-routes.ts'
import type { Exec } from '../process/exec.ts'

/**
 * Removes exactly what the guard made: the rules of every backend, and the link.
 *
 * @returns `failed`: what is still there and why, or undefined; `skipped`: why backends were not looked at, which cannot be
 *   used on this node and so have left nothing; `bootRules`: whether the node loads rules at boot
 */
export async function removeAll(exec: Exec) {
  const { failures, skipped } = await removeRules(findBackends(exec, 'auto').all)
  const owned = await removeUnownedTable(exec)
  if (owned && !owned.unusable) failures.push(owned.detail)
  failures.push(...(await removeHostNetwork(exec)))
  // A guard that was killed while it asked the metadata service has left this table.
  if (owned === undefined) await deleteTable(exec, IMDS_PROBE_TABLE)
  const left = [await removeReturnRoutes(exec), await removeLink(exec)].filter(
    (detail) => detail !== undefined,
  )
  const all = [...failures, ...left]
  return {
    failed: all.length > 0 ? all.join('; ') : undefined,
    skipped,
    // Their marker stays, since their file does.
    bootRules: await loadsBootRules(exec),
  }
}

/** Takes the place of the block in `guard --mode=remove`: verified means that nothing of the guard is left. */
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
      (result.unusable && !result.mayRemain ? skipped : failures).push(result.detail)
  }
  // If no backend works, nothing has been looked at.
  const looked = skipped.length + failures.length < backends.length
  return looked ? { failures, skipped } : { failures: [...failures, ...skipped], skipped: [] }
}
