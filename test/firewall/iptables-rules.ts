/** The guard's iptables rules on a test node, with the probes that only iptables needs. */
import { BROKER_ADDRESSES, METADATA_ADDRESSES } from '../../common/addresses.ts'
import type { Backend } from '../../node-guard/firewall/backend/backend.ts'
import { iptablesBackend } from '../../node-guard/firewall/iptables/backend.ts'
import { restoreInput } from '../../node-guard/firewall/iptables/chains.ts'
import { restore } from '../../node-guard/firewall/iptables/command.ts'
import { readSaved } from '../../node-guard/firewall/iptables/reading.ts'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import type { Chain, Family, Rule, Variant } from '../../node-guard/firewall/rules/iptables.ts'
import { datagram, type Outcomes, UDP_PORT } from './battery.ts'
import { CLAIMABLE, fenceOf, nodeExec, type TestNode, UNLINKED } from './node.ts'

export const VARIANTS = ['nft', 'legacy'] as const satisfies Variant[]
export const FAMILIES = [4, 6] as const satisfies Family[]

const [BROKER4, BROKER6] = BROKER_ADDRESSES
/** The port of another program's DNAT from the node's own address to the broker. */
const LED_PORT = 5302
/** The port of another program's earlier DNAT, which takes packets to the broker or to a metadata address. */
const TAKEN_PORT = 8083

/** A port that another program excludes from connection tracking: it has no NAT and no known original destination. */
const UNTRACKED_PORT = 8084

const DNAT_TABLE = `table inet test_dnat {
  chain untracked {
    type filter hook prerouting priority -300; policy accept;
    tcp dport ${UNTRACKED_PORT} notrack
  }
  chain led {
    type nat hook prerouting priority -99; policy accept;
    ip daddr 10.9.0.1 udp dport ${LED_PORT} dnat ip to ${BROKER4}:${UDP_PORT}
    ip6 daddr fd00:9::1 udp dport ${LED_PORT} dnat ip6 to [${BROKER6}]:${UDP_PORT}
  }
  chain taken {
    type nat hook prerouting priority -120; policy accept;
    ip daddr ${BROKER4} tcp dport ${TAKEN_PORT} dnat ip to 10.0.0.2:80
    ip6 daddr ${BROKER6} tcp dport ${TAKEN_PORT} dnat ip6 to [fd00:10::2]:80
    ip daddr ${CLAIMABLE[0]} tcp dport ${TAKEN_PORT} dnat ip to 10.0.0.2:80
    ip6 daddr ${CLAIMABLE[1]} tcp dport ${TAKEN_PORT} dnat ip6 to [fd00:10::2]:80
  }
}`

export function backendOn(node: TestNode, variant: Variant): Backend {
  return iptablesBackend({ exec: nodeExec(node), variant, families: async () => FAMILIES })
}

/** A rule without its address, since the rules for all addresses are the same. */
const shapeOf = ({ rule, counter = '' }: Rule) =>
  `${rule.replace(/(-s|-d|--ctorigdst|--to-destination) \S+/g, '$1 …')} ${counter}`.trim()

/** The chains without one kind of rule, or without one jump. */
export function* withoutEach(chains: readonly Chain[]): Generator<{ what: string; rest: readonly Chain[] }> {
  for (const [index, chain] of chains.entries()) {
    const replaced = (changed: Chain) => chains.with(index, changed)
    for (const shape of new Set(chain.rules.map(shapeOf)))
      yield {
        what: `${chain.name} ${shape}`,
        rest: replaced({ ...chain, rules: chain.rules.filter((rule) => shapeOf(rule) !== shape) }),
      }
    if (chain.hook === undefined) continue
    const { hook, ...unhooked } = chain
    yield { what: `the jump from ${hook} to ${chain.name}`, rest: replaced(unhooked) }
  }
}

/** Replaces all our chains by these. */
export async function loadChains(
  exec: Exec,
  prefix: string,
  family: Family,
  chains: readonly Chain[],
  variant: Variant = 'legacy',
): Promise<string | undefined> {
  const tool = { exec, variant, family, prefix } as const
  const read = await readSaved(tool)
  if (!read.ok) return read.detail
  const result = await restore(tool, restoreInput(chains, read.saved))
  return result.ok ? undefined : result.detail
}

/** Prepares the probes once per node, after `prepare`. */
export const prepareDnat = (node: TestNode) => node.must('node', ['nft', '-f', '-'], DNAT_TABLE)

/** Probes the weaknesses that only iptables has. */
export async function probeWeak(node: TestNode, variant: Variant): Promise<Outcomes> {
  const tcp = (host: string, port: number) => async () =>
    (await (await node.agent('pod1')).tcp({ host, port, fence: fenceOf(host) })).outcome
  const behind = {
    'pod → broker, taken by an earlier DNAT, IPv4': tcp(BROKER4, TAKEN_PORT),
    'pod → broker, taken by an earlier DNAT, IPv6': tcp(BROKER6, TAKEN_PORT),
    'pod → metadata, taken by an earlier DNAT, IPv4': tcp(CLAIMABLE[0], TAKEN_PORT),
    'pod → metadata, taken by an earlier DNAT, IPv6': tcp(CLAIMABLE[1], TAKEN_PORT),
    'pod → metadata, untracked, IPv4': tcp(METADATA_ADDRESSES[0], UNTRACKED_PORT),
    'pod → metadata, untracked, IPv6': tcp(METADATA_ADDRESSES[1], UNTRACKED_PORT),
    'pod → broker without link, untracked, IPv4': tcp(UNLINKED[0], UNTRACKED_PORT),
    'pod → broker without link, untracked, IPv6': tcp(UNLINKED[1], UNTRACKED_PORT),
    'other interface → broker by a DNAT, IPv4': datagram(
      node,
      'outside',
      ['10.9.0.1', LED_PORT],
      'node',
      '10.9.0.1',
    ),
    'other interface → broker by a DNAT, IPv6': datagram(
      node,
      'outside',
      ['fd00:9::1', LED_PORT],
      'node',
      'fd00:9::1',
    ),
  }
  const toAws = (host: string) => datagram(node, 'pod1', [host, UDP_PORT], 'aws', fenceOf(host))
  const accepted = {
    'pod → metadata after an ACCEPT, IPv4': toAws(METADATA_ADDRESSES[0]),
    'pod → metadata after an ACCEPT, IPv6': toAws(METADATA_ADDRESSES[1]),
    'pod → broker without link after an ACCEPT, IPv4': toAws(UNLINKED[0]),
    'pod → broker without link after an ACCEPT, IPv6': toAws(UNLINKED[1]),
  }
  const first = await outcomesOf(behind)
  const accept = (command: string) =>
    Promise.all(
      FAMILIES.map((family) =>
        node.must('node', [
          `ip${family === 6 ? '6' : ''}tables-${variant}`,
          '-w',
          command,
          'FORWARD',
          '-j',
          'ACCEPT',
        ]),
      ),
    )
  await accept('-I')
  const second = await outcomesOf(accepted)
  await accept('-D')
  return { ...first, ...second }
}

/** The outcomes of {@link probeWeak} when the rules are as they should be. */
export const WEAK_AS_DESIGNED: Outcomes = {
  'pod → broker, taken by an earlier DNAT, IPv4': 'ECONNREFUSED',
  'pod → broker, taken by an earlier DNAT, IPv6': 'ECONNREFUSED',
  'pod → metadata, taken by an earlier DNAT, IPv4': 'ECONNREFUSED',
  'pod → metadata, taken by an earlier DNAT, IPv6': 'ECONNREFUSED',
  'pod → metadata, untracked, IPv4': 'ECONNREFUSED',
  'pod → metadata, untracked, IPv6': 'ECONNREFUSED',
  'pod → broker without link, untracked, IPv4': 'ECONNREFUSED',
  'pod → broker without link, untracked, IPv6': 'ECONNREFUSED',
  'other interface → broker by a DNAT, IPv4': 'dropped',
  'other interface → broker by a DNAT, IPv6': 'dropped',
  'pod → metadata after an ACCEPT, IPv4': 'dropped',
  'pod → metadata after an ACCEPT, IPv6': 'dropped',
  'pod → broker without link after an ACCEPT, IPv4': 'dropped',
  'pod → broker without link after an ACCEPT, IPv6': 'dropped',
}

async function outcomesOf(probes: Readonly<Record<string, () => Promise<string>>>): Promise<Outcomes> {
  const outcomes = Object.entries(probes).map(async ([name, run]) => [name, await run()] as const)
  return Object.fromEntries(await Promise.all(outcomes))
}
