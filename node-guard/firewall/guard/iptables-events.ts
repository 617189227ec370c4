import type { Exec } from '../exec.ts'
import { GUARD_CHAINS } from './iptables-rules.ts'
import type { Watched } from './watch.ts'

const BUILT_IN = 'PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING'
/** As `nft monitor` has it: `insert rule ip filter FORWARD …`, `delete table ip6 mangle`. */
const NFT_LINE = new RegExp(
  `\\b(?:rule|chain) ip6? (?:filter|mangle|nat) (?:${BUILT_IN})\\b|table ip6? (?:filter|mangle|nat)\\b`,
)
/** As `xtables-monitor` has it: ` EVENT: -4 -t filter -A FORWARD …`, ` EVENT: nft: DEL table: table filter ip …`. */
const XTABLES_LINE = new RegExp(
  `-t (?:filter|mangle|nat) -\\S+ (?:${BUILT_IN})\\b|table: table (?:filter|mangle|nat)\\b`,
)

/** Whether an event is about our chains, or about what stands before our jumps. */
export const concernsIptables = (line: string) =>
  line.includes(GUARD_CHAINS) || NFT_LINE.test(line) || XTABLES_LINE.test(line)

/** What tells of changes made by iptables-nft: nft's monitor, or iptables' own where nft is not installed. */
export async function iptablesEvents(exec: Exec): Promise<Watched> {
  const nft = await exec('nft', ['--version'])
  return nft.code === 'missing'
    ? // By lines: into a pipe it would keep events to itself until there are 4 KiB of them.
      { command: 'stdbuf', args: ['-oL', 'xtables-monitor', '--event'], matches: concernsIptables }
    : { command: 'nft', args: ['monitor'], matches: concernsIptables }
}
