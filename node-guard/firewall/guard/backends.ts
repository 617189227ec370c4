import { iptablesBackend } from '../iptables/backend.ts'
import type { Family } from '../iptables/command.ts'
import type { LegacyNode } from '../iptables/removal.ts'
import { nftBackend } from '../nft/backend.ts'
import { legacyTables, NODE_FILES, type NodeFiles } from '../node/files.ts'
import type { Exec } from '../process/exec.ts'
import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import type { Backend } from './backend.ts'

/** The backends of this machine. */
export type Backends = {
  readonly all: readonly Backend[]
  /** What `--backend` admits, in the order in which they are tried. */
  readonly candidates: () => Promise<readonly Backend[]>
}

/** `--backend`. */
type BackendSetting = 'auto' | 'nft' | 'iptables'

/**
 * The backends by preference. `auto` takes nft first: its rules cannot be gone round by another's ACCEPT. Of
 * iptables, the variant in which the node's other rules are, so that ours stand before them; nf_tables' on an empty node.
 */
export function findBackends(exec: Exec, setting: BackendSetting, node: NodeFiles = NODE_FILES): Backends {
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
    candidates: async () => {
      if (setting === 'nft') return [nft]
      return setting === 'iptables' ? iptables() : [nft, ...(await iptables())]
    },
  }
}

/** A kernel without IPv6 (`ipv6.disable=1`) forwards none, and ip6tables fails there. */
async function familiesOf(node: NodeFiles): Promise<Family[]> {
  return (await node.exists('/proc/net/if_inet6')) ? [4, 6] : [4]
}
