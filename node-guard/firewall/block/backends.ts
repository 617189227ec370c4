import { iptablesBackend } from '../iptables/backend.ts'
import { familiesOf, legacyTables, NODE_FILES, type NodeFiles } from '../iptables/node-files.ts'
import type { LegacyNode } from '../iptables/removal.ts'
import { nftBackend } from '../nft/backend.ts'
import type { Exec } from '../process/exec.ts'
import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import { auditRuleset } from '../rules/guard-nft.ts'
import type { Sightings } from './audit.ts'

/** The backends of this machine. */
export type Backends = ReturnType<typeof findBackends>

/**
 * The backends by preference of `--backend`. `auto` takes nft first, since no ACCEPT of another program bypasses its rules. Of iptables,
 * the variant that has the node's other rules is first, so that ours come before them; on an empty node, iptables-nft.
 */
export function findBackends(exec: Exec, setting: 'auto' | 'nft' | 'iptables', node: NodeFiles = NODE_FILES) {
  const families = () => familiesOf(node)
  const legacyNode: LegacyNode = {
    tables: (family) => legacyTables(node, family),
    hasPin: (family) => node.exists(`/proc/net/xt_recent/${GUARD_CHAINS}nat-${family}`),
  }
  const legacyInUse = async () =>
    (await Promise.all(([4, 6] as const).map(legacyNode.tables))).some((tables) => tables.length > 0)
  const nft = nftBackend(exec)
  const overNft = iptablesBackend({ exec, variant: 'nft', families })
  const legacy = iptablesBackend({ exec, variant: 'legacy', families, legacy: legacyNode })
  const iptables = async () => ((await legacyInUse()) ? [legacy, overNft] : [overNft, legacy])
  return {
    all: [nft, overNft, legacy],
    /** What `--backend` admits, in the order in which they are tried. */
    candidates: async () => {
      if (setting === 'nft') return [nft]
      return setting === 'iptables' ? iptables() : [nft, ...(await iptables())]
    },
  }
}

/**
 * The backends of `--mode=audit`. Only nft can count by source without a limit (the `recent` match of iptables stops at
 * twenty packets). The rules that other backends made in mode `enforce` are removed as usual.
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
