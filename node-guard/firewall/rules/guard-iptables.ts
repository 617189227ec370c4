import { type CounterName, type GuardRuleset, isClaimable } from './guard.ts'
import {
  type Chain,
  type Family,
  type IptablesTable,
  ofFamily,
  type Place,
  type Rule,
  refusing,
} from './iptables.ts'

/** Prefix of the names of the guard's chains. */
export const GUARD_CHAINS = 'POD2IAM-'

/**
 * The guard's rules for iptables, one family: what `guardRuleset` does in nft, as far as iptables can, and what makes up
 * for the rest.
 *
 * - iptables has no base chains of one's own: an ACCEPT before our jump in FORWARD bypasses our reset. Until the jump is
 *   first again, the drop in mangle POSTROUTING holds, which every packet that leaves the node has to pass.
 * - rpfilter, the reverse path test, works in PREROUTING only, before DNAT. Packets that another DNAT sent to the broker
 *   are dropped in INPUT; our own DNAT keeps the destination, so that the kernel does not count it as one.
 * - Among the nat tables of the two iptables variants and of nft, the one made first comes first. Where another DNAT
 *   comes before our pin, packets for the broker, or for a metadata address that a Service may claim, are refused by
 *   their original destination.
 */
export function iptablesRules(rules: GuardRuleset, family: Family): readonly Chain[] {
  return everyChain(rules, family).filter((chain) => chain.rules.length > 0)
}

/** Matches packets whose source is not an address of the node. */
const FOREIGN = '-m addrtype ! --src-type LOCAL'

/** Rules for each of these addresses, as far as they are of this family. */
const rulesFor =
  (family: Family) =>
  (
    addresses: readonly string[],
    counter: CounterName | undefined,
    rule: (address: string, to: string) => string | readonly string[],
  ): Rule[] =>
    addresses
      .filter(ofFamily(family))
      .flatMap((address) => rule(address, `-d ${address}/${family === 6 ? 128 : 32}`))
      .map((text) => (counter === undefined ? { rule: text } : { rule: text, counter }))

/** A chain of ours to which this built-in one jumps. */
const hooked = (table: IptablesTable, hook: string, rules: readonly Rule[], name = hook): Chain => ({
  table,
  name: `${GUARD_CHAINS}${name}`,
  hook,
  rules,
})

const EVERY = everyChain({ metadata: [], broker: [], uplinks: [] }, 4)

/**
 * Where rules of ours can be: the built-in chains that jump to our chains, and our chains, including those of earlier
 * releases. A name that is no longer used stays in this list, so that its chain is found and removed.
 */
export const GUARD_PLACES: { readonly hooks: readonly Place[]; readonly own: readonly Place[] } = {
  hooks: EVERY.flatMap(({ table, hook }) => (hook === undefined ? [] : [{ table, chain: hook }])),
  own: EVERY.map(({ table, name }) => ({ table, chain: name })),
}

function everyChain(rules: GuardRuleset, family: Family): readonly Chain[] {
  return [...filterChains(rules, family), ...mangleChains(rules, family), ...natChains(rules, family)]
}

function filterChains({ metadata, broker }: GuardRuleset, family: Family): readonly Chain[] {
  const each = rulesFor(family)
  const refuse = `-g ${GUARD_CHAINS}REFUSE`
  const claimable = metadata.filter(isClaimable)
  return [
    { table: 'filter', name: `${GUARD_CHAINS}REFUSE`, rules: refusing(family) },
    hooked('filter', 'FORWARD', [
      ...each(metadata, 'metadata_refused', (_, to) => `${to} ${refuse}`),
      ...each(claimable, 'metadata_refused', (address) => `-m conntrack --ctorigdst ${address} ${refuse}`),
      ...each(broker, 'broker_forwarded', (address, to) => [
        `${to} ${refuse}`,
        `-m conntrack --ctorigdst ${address} ${refuse}`,
      ]),
    ]),
    hooked(
      'filter',
      'OUTPUT',
      each(metadata, 'metadata_refused', (_, to) => `${to} ${FOREIGN} ${refuse}`),
    ),
    hooked(
      'filter',
      'INPUT',
      each(claimable, 'metadata_refused', (_, to) => `${to} ${refuse}`),
    ),
  ]
}

function mangleChains(
  { metadata, broker, uplinks, inner = [], outer = [] }: GuardRuleset,
  family: Family,
): readonly Chain[] {
  const own = ofFamily(family)
  const each = rulesFor(family)
  return [
    hooked('mangle', 'POSTROUTING', [
      ...each(metadata, 'metadata_dropped', (_, to) => `${to} ${FOREIGN} -j DROP`),
      ...each(broker, 'broker_forwarded', (_, to) => `${to} ${FOREIGN} -j DROP`),
    ]),
    hooked('mangle', 'PREROUTING', [
      ...each(broker, undefined, (_, to) =>
        inner.filter(own).map((prefix) => `-s ${prefix} ${to} -j RETURN`),
      ),
      ...each(broker, 'broker_outside', (_, to) => `${to} -m rpfilter --invert -j DROP`),
    ]),
    hooked(
      'mangle',
      'INPUT',
      each(broker, 'broker_outside', (_, to) => [
        ...uplinks.map((uplink) => `${to} -i ${uplink.replace(/\*$/, '+')} -j DROP`),
        ...outer.filter(own).map((prefix) => `-s ${prefix} ${to} ! -i lo -j DROP`),
        `${to} -m conntrack --ctstate DNAT -j DROP`,
      ]),
    ),
  ]
}

function natChains({ metadata, broker }: GuardRuleset, family: Family): readonly Chain[] {
  const each = rulesFor(family)
  const claimable = metadata.filter(isClaimable)
  const pin = (address: string, to: string) => `${to} -j DNAT --to-destination ${address}`
  return [
    hooked('nat', 'PREROUTING', each([...broker, ...claimable], undefined, pin), 'PIN'),
    hooked('nat', 'OUTPUT', each(claimable, undefined, pin), 'PIN-OUTPUT'),
  ]
}
