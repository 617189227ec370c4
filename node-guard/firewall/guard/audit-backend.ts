import { nftBackend } from '../nft/backend.ts'
import type { Exec } from '../process/exec.ts'
import { auditRuleset } from '../rules/guard-nft.ts'
import type { Sightings } from './audit.ts'
import { type Backends, findBackends } from './backends.ts'

/**
 * The backends of `--mode=audit`: nft alone can count by source without a bound that hides the count (the `recent` match of
 * iptables stops at twenty packets). What other backends left of mode `enforce` is removed as always.
 */
export function auditBackends(exec: Exec, sightings: Sightings): Backends {
  const counting = nftBackend(exec, {
    ruleset: auditRuleset,
    restarted: sightings.restart,
    read: sightings.take,
  })
  const others = findBackends(exec, 'auto').all.filter(({ name }) => name !== counting.name)
  return { all: [counting, ...others], candidates: async () => [counting] }
}
