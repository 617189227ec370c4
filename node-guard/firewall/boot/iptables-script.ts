/**
 * The rules that a node loads at boot, for iptables: the guard's chains, without what only a running guard knows. A shell
 * script, since the input of `iptables-restore` cannot express "the jump, unless it is there".
 */

import { restoreInput } from '../iptables/chains.ts'
import { mergeSaved } from '../iptables/saved.ts'
import { iptablesRules } from '../rules/guard-iptables.ts'
import type { Chain, Family, IptablesTable } from '../rules/iptables.ts'
import { type BootAddresses, type BootRules, fingerprint } from './rules.ts'

/**
 * Marks which rules the node loads at boot: a chain without rules, named after them. Its prefix is not that of the guard's
 * chains, so that it stays when these are replaced or removed.
 */
export const BOOT_CHAINS = 'POD2IAM_BOOT_'
/** The table of the marker, of IPv4: the one that other programs use least. */
export const BOOT_CHAINS_TABLE: IptablesTable = 'mangle'

const NOTHING = mergeSaved([])
/** Seconds, for the lock of iptables-legacy: restoring all rules of a node does not take longer. */
const LOCK_WAIT = 5

/** A script for `/bin/sh`. It can be run whichever of these rules already exist: our rules in each table are replaced in one transaction. */
export function iptablesBootRules(addresses: BootAddresses): BootRules {
  const chains = (family: Family) => iptablesRules({ ...addresses, uplinks: [] }, family)
  const marker = `${BOOT_CHAINS}${fingerprint(JSON.stringify([chains(4), chains(6)]))}`
  const file = String.raw`set -eu
export PATH="$PATH:/usr/sbin:/sbin"

# What a table has of an earlier run, as commands that take it away: the jumps to our chains, and the names of other rules.
earlier() {
  "$1-save" -t "$2" | sed -n -e '/^:${marker} /d' -e 's/^:\(${BOOT_CHAINS}[0-9a-f]*\) .*/-X \1/p' \
    -e '/^-A POD2IAM-/d' -e 's/^-A \(.* -j POD2IAM-[A-Z-]*\)$/-D \1/p'
}

# load PROGRAM TABLE: puts into this table what it reads, in one transaction; rules of others stay. Again where another
# changed the jumps meanwhile.
load() {
  rules=$(cat)
  for attempt in 1 2 3; do
    { echo "*$2"; earlier "$1" "$2"; printf '%s\nCOMMIT\n' "$rules"; } | "$1-restore" --noflush --wait=${LOCK_WAIT} && return
  done
  return 1
}

# The node's own iptables; where that is nf_tables' and the kernel has none, the other one.
kind=
iptables-save -t mangle >/dev/null 2>&1 || kind=-legacy

${loads('iptables', chains(4), marker)}
# A kernel without IPv6 forwards none.
modprobe -q ipv6 2>/dev/null || true
[ -e /proc/net/if_inet6 ] || exit 0

${loads('ip6tables', chains(6))}`
  return { file, marker }
}

const TABLES: readonly IptablesTable[] = ['mangle', 'filter', 'nat']

/** The tables in the order in which the guard writes them: mangle, which drops, before filter, which refuses. */
function loads(program: string, chains: readonly Chain[], marker?: string): string {
  const load = (table: IptablesTable) => {
    const marks = table === BOOT_CHAINS_TABLE && marker !== undefined ? [`:${marker} - [0:0]`] : []
    const lines = [...marks, ...restoreInput(chains, NOTHING, [table]).split('\n').slice(1, -2)]
    return lines.length > 0
      ? [`load "${program}$kind" ${table} <<'END_OF_TABLE'\n${lines.join('\n')}\nEND_OF_TABLE\n`]
      : []
  }
  return TABLES.flatMap(load).join('')
}
