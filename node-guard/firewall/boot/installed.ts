/** Recognises the rules that the node loads at boot (`firewall boot-rules`), of either backend. */

import { legacyTables, NODE_FILES, type NodeFiles } from '../iptables/node-files.ts'
import { type Read, readTables, readWholeTables } from '../iptables/reading.ts'
import { readTable } from '../nft/table.ts'
import type { Exec } from '../process/exec.ts'
import type { Variant } from '../rules/iptables.ts'
import { UNIT } from './files.ts'
import { BOOT_CHAINS, BOOT_CHAINS_TABLE } from './iptables-script.ts'
import { BOOT_TABLE } from './rules.ts'

/** Also `none` if the rules cannot be read: then nothing can have loaded them, or they are in iptables-legacy, which is unreadable without NET_RAW. */
type BootRulesState = 'none' | 'current' | 'outdated'

/**
 * Looks for the markers of such rules.
 *
 * @param markers of the rules that the guard would print, one for each backend. A node whose backend was changed since its
 *   boot has two markers, of which one has to match
 */
export async function readBootRules(
  exec: Exec,
  markers: readonly string[],
  node: NodeFiles = NODE_FILES,
): Promise<BootRulesState> {
  const found = await readMarkers(exec, node)
  if (found.length === 0) return 'none'
  return markers.some((marker) => found.includes(marker)) ? 'current' : 'outdated'
}

/** Whether the node loads any such rules at boot, as far as that can be determined. */
export const loadsBootRules = async (exec: Exec, node: NodeFiles = NODE_FILES): Promise<boolean> =>
  (await readMarkers(exec, node)).length > 0

async function readMarkers(exec: Exec, node: NodeFiles): Promise<readonly string[]> {
  const table = await readTable(exec, BOOT_TABLE)
  const ofNft = table.ok && table.content !== undefined ? Object.keys(table.content.shape.chains) : []
  return [...ofNft, ...(await readChains(exec, 'nft')), ...(await readLegacy(exec, node))]
}

/** Listing a table of iptables-legacy that is not there would make the kernel load it. */
const readLegacy = async (exec: Exec, node: NodeFiles) =>
  (await legacyTables(node, 4)).includes(BOOT_CHAINS_TABLE) ? readChains(exec, 'legacy') : []

async function readChains(exec: Exec, variant: Variant): Promise<readonly string[]> {
  const read: typeof readTables = variant === 'nft' ? readWholeTables : readTables
  const result: Read = await read({ exec, variant, family: 4, prefix: BOOT_CHAINS }, [BOOT_CHAINS_TABLE])
  return result.ok ? [...result.saved.chains.values()].map(({ name }) => name) : []
}

/** How to update them. */
const PRINT =
  'print them again by `firewall.cjs boot-rules` of this release and with these settings (docs/boot-rules.md)'

/**
 * A warning for the operator, as a sentence; undefined if there is none.
 *
 * @param mode of the guard
 */
export function bootRulesWarning(state: BootRulesState, mode: string): string | undefined {
  if (state === 'none') return undefined
  if (mode === 'audit')
    return `this node refuses from its boot until the guard runs, which then only counts: disable ${UNIT} until you enforce (systemctl disable ${UNIT})`
  return state === 'outdated'
    ? `the rules that this node loads at boot are of another release or other settings than this guard, and refuse by these until it runs; ${PRINT}`
    : undefined
}

/** What remains to be done when the guard's rules are removed from a node that loads some at boot. */
export const BOOT_UNIT_LEFT = `this node loads rules at boot, which will shut it again: systemctl disable ${UNIT}`
