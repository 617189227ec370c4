/**
 * The rules that a node loads at boot, before its kubelet starts: the guard's table, without what only a running guard
 * knows. The guard then replaces its rules in one transaction, so that there is no moment without rules. For iptables see
 * `iptables-script.ts`.
 */

import { tableCommands } from '../nft/commands.ts'
import { guardRuleset } from '../rules/guard-nft.ts'
import type { TableName } from '../rules/nft.ts'

/**
 * Marks which rules the node loads at boot: its only chain is named after them. It stays when the guard replaces the
 * rules themselves.
 */
export const BOOT_TABLE: TableName = 'inet pod2iam_boot'
const CHAIN = 'rules_'

export type BootRules = {
  /** The file that the node keeps: for `nft -f`, or a shell script. */
  readonly file: string
  /** Name of the marker's chain; it differs whenever the rules differ. */
  readonly marker: string
}

/** Exact addresses, both families. */
export type BootAddresses = { readonly metadata: readonly string[]; readonly broker: readonly string[] }

/** A file for `nft -f`. */
export function bootRules(addresses: BootAddresses): BootRules {
  const { commands } = tableCommands(guardRuleset({ ...addresses, uplinks: [] }))
  const marker = `${CHAIN}${fingerprint(commands)}`
  const lines = [
    commands,
    // Deleted first, so that it has one chain.
    `add table ${BOOT_TABLE}`,
    `delete table ${BOOT_TABLE}`,
    `add table ${BOOT_TABLE}`,
    `add chain ${BOOT_TABLE} ${marker}`,
  ]
  return { file: `${lines.join('\n')}\n`, marker }
}

/** FNV-1a, 32 bits: it distinguishes releases and settings, and is no protection. */
export function fingerprint(text: string): string {
  let state = 0x811c9dc5
  for (const byte of Buffer.from(text)) state = Math.imul(state ^ byte, 0x01000193) >>> 0
  return state.toString(16).padStart(8, '0')
}
