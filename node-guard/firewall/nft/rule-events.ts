import { type Exec, firstLine } from '../process/exec.ts'
import type { MonitorCommand } from '../process/watch.ts'
import { netlinkLines } from './netlink.ts'

/** AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER; of struct sockaddr_nl, after the family: padding, port id 0, groups. */
const SOCKET = '16:3:12'
const GROUP_NFTABLES = 1 << 6

/** The tables that matter (`family name`), and which lines about them concern our rules. */
export type EventFilter = {
  readonly tables: readonly string[]
  readonly matches: (line: string) => boolean
}

/**
 * The command that reports changes in nf_tables: socat, which copies notifications from a netlink socket of the kernel. Its memory does not
 * depend on how many rules there are. `nft monitor` prints the same, but begins by reading all tables into memory: on a node
 * with 1,500 Services that is more than the guard may use (docs/decisions/0090).
 */
export async function ruleEvents(
  exec: Exec,
  filter: EventFilter,
): Promise<MonitorCommand & { readonly limited?: string }> {
  const { matches, tables } = filter
  // It is run, since a socat that lacks a library exists, but does not work.
  const tried = await exec('socat', ['-V'])
  if (tried.code === 0) return netlinkSocket(tables, matches)
  return { ...nftMonitor(matches), limited: noSocat(firstLine(tried)) }
}

function netlinkSocket(tables: readonly string[], matches: EventFilter['matches']): MonitorCommand {
  const groups = Buffer.alloc(4)
  new Uint32Array(groups.buffer, groups.byteOffset, 1)[0] = GROUP_NFTABLES
  return {
    command: 'socat',
    // A datagram that is larger than the buffer would be cut.
    args: ['-u', '-b', '65536', `SOCKET-RECV:${SOCKET}:x000000000000${groups.toString('hex')}`, 'STDOUT'],
    matches,
    decoder: () => netlinkLines(tables),
  }
}

/** For images without socat. The limit keeps nft from using the memory that the guard needs. */
const nftMonitor = (matches: EventFilter['matches']): MonitorCommand => ({
  command: 'prlimit',
  args: [`--as=${48 * 1024 * 1024}`, '--', 'nft', 'monitor'],
  matches,
})

const noSocat = (why: string) =>
  `socat cannot be run (${why}), so nft monitor is used to detect changes; it reads all rules of the node into memory and is stopped if there are too many: then a change is found only at the next poll; use the pod2iam image, or install socat`
