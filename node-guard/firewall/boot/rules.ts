/**
 * The rules that a node loads at its boot, before its kubelet: the guard's own table, without what only a running guard
 * knows. The guard then replaces its rules in one transaction, so that there is no moment without. The same for iptables
 * is in `iptables-script.ts`.
 */

import { tableCommands } from '../nft/commands.ts'
import type { TableName } from '../nft/table-content.ts'
import { guardRuleset } from '../rules/guard-nft.ts'

/**
 * Tells the guard that the node loads rules at boot, and which: its one chain is named after them. It stays when the guard
 * has replaced the rules themselves.
 */
export const BOOT_TABLE: TableName = 'inet pod2iam_boot'
const CHAIN = 'rules_'

export type BootRules = {
  /** What the node keeps: a file for `nft -f`, or a shell script. */
  readonly file: string
  /** Name of the marker's chain: another one wherever the rules differ. */
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
    // Anew, so that it has one chain.
    `add table ${BOOT_TABLE}`,
    `delete table ${BOOT_TABLE}`,
    `add table ${BOOT_TABLE}`,
    `add chain ${BOOT_TABLE} ${marker}`,
  ]
  return { file: `${lines.join('\n')}\n`, marker }
}

/** FNV-1a, 32 bits: it tells releases and settings apart, and protects nothing. */
export function fingerprint(text: string): string {
  let state = 0x811c9dc5
  for (const byte of Buffer.from(text)) state = Math.imul(state ^ byte, 0x01000193) >>> 0
  return state.toString(16).padStart(8, '0')
}
