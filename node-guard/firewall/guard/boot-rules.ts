/** What the guard knows of the rules that its node loads at boot (`firewall boot-rules`). */
import { UNIT } from '../boot/files.ts'
import { BOOT_TABLE, type BootRules } from '../boot/rules.ts'
import type { Exec } from '../exec.ts'
import { readTable } from '../nft-table.ts'

/** `none` also where nobody can look: then there is no nft that could have loaded them. */
export type BootRulesState = 'none' | 'current' | 'outdated'

/** Looks at the marker that they leave. */
export async function readBootRules(exec: Exec, { marker }: BootRules): Promise<BootRulesState> {
  const read = await readTable(exec, BOOT_TABLE)
  if (!read.ok || read.content === undefined) return 'none'
  return Object.keys(read.content.shape.chains).includes(marker) ? 'current' : 'outdated'
}

/** How nodes come by new ones. */
const PRINT =
  'print them anew with `firewall.cjs boot-rules` of this release and settings (docs/boot-rules.md)'

/**
 * What the operator should know of it, as a sentence; undefined where all is well.
 *
 * @param mode of the guard
 */
export function bootRulesWarning(state: BootRulesState, mode: string): string | undefined {
  if (state === 'none') return undefined
  if (mode === 'audit')
    return `this node refuses from its boot until the guard runs, which then only counts: until you enforce, disable ${UNIT} (systemctl disable ${UNIT})`
  return state === 'outdated'
    ? `the rules that this node loads at boot are of another release or other settings than this guard: they refuse until it runs, as they were printed; ${PRINT}`
    : undefined
}

/** What is left to do after the guard's rules are gone from a node that loads some at boot. */
export const BOOT_UNIT_LEFT = `this node loads rules at boot, which shut it again: systemctl disable ${UNIT}`
