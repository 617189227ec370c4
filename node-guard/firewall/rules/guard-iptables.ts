import type { Chain, Rule } from '../iptables/chains.ts'
import type { Family } from '../iptables/command.ts'
import type { Place } from '../iptables/listed.ts'
import { type CounterName, type GuardRuleset, isClaimable } from './guard.ts'

/** How the names of the guard's chains begin. */
export const GUARD_CHAINS = 'POD2IAM-'

/**
 * The guard's rules for iptables, one family: what `guardRuleset` says in nft, as far as iptables can, and what makes
 * up for the rest.
 *
 * - iptables has no base chains of one's own: another's ACCEPT before our jump in FORWARD goes round our reset. It
 *   does not go round the drop in mangle POSTROUTING, which every packet that leaves has to pass, until the jump is
 *   first again.
 * - rpfilter, the reverse path test, works in PREROUTING only, before DNAT; what another's DNAT sent to the broker is
 *   dropped behind it. Our own pin is none: it changes nothing.
 * - Between nat tables of iptables' two variants, and nft's, the order is by who came first. Where another's DNAT came
 *   before our pin, what was meant for the broker, or for a metadata address that a Service may claim, is refused by
 *   its original destination.
 */
export function iptablesRules(rules: GuardRuleset, family: Family): readonly Chain[] {
  return everyChain(rules, family).filter((chain) => chain.rules.length > 0)
}

const EMPTY: GuardRuleset = { metadata: [], broker: [], uplinks: [] }

/**
 * Where rules of ours can stand: the built-in chains from which our chains are reached, and our chains, also those of an
 * earlier guard. A name that is given up stays here, so that its chain is found and removed.
 */
export const GUARD_PLACES: { readonly hooks: readonly Place[]; readonly own: readonly Place[] } = {
  hooks: everyChain(EMPTY, 4).flatMap(({ table, hook }) =>
    hook === undefined ? [] : [{ table, chain: hook }],
  ),
  own: everyChain(EMPTY, 4).map(({ table, name }) => ({ table, chain: name })),
}

function everyChain(
  { metadata, broker, uplinks, inner = [], outer = [] }: GuardRuleset,
  family: Family,
): readonly Chain[] {
  const own = (address: string) => address.includes(':') === (family === 6)
  const each = (
    addresses: readonly string[],
    counter: CounterName | undefined,
    rule: (address: string, cidr: string) => string | readonly string[],
  ): Rule[] =>
    addresses
      .filter(own)
      .flatMap((address) => rule(address, `-d ${address}/${family === 6 ? 128 : 32}`))
      .map((text) => (counter === undefined ? { rule: text } : { rule: text, counter }))
  const prohibited = family === 6 ? 'icmp6-adm-prohibited' : 'icmp-admin-prohibited'
  const foreign = '-m addrtype ! --src-type LOCAL'
  const name = (suffix: string) => `${GUARD_CHAINS}${suffix}`
  const refuse = `-g ${name('REFUSE')}`
  const claimable = metadata.filter(isClaimable)
  const pin = (address: string, to: string) => `${to} -j DNAT --to-destination ${address}`

  return [
    {
      table: 'filter',
      name: name('REFUSE'),
      rules: [
        { rule: '-p tcp -j REJECT --reject-with tcp-reset' },
        { rule: `-j REJECT --reject-with ${prohibited}` },
      ],
    },
    {
      table: 'filter',
      name: name('FORWARD'),
      hook: 'FORWARD',
      rules: [
        ...each(metadata, 'metadata_refused', (_, to) => `${to} ${refuse}`),
        ...each(claimable, 'metadata_refused', (address) => `-m conntrack --ctorigdst ${address} ${refuse}`),
        ...each(broker, 'broker_forwarded', (address, to) => [
          `${to} ${refuse}`,
          `-m conntrack --ctorigdst ${address} ${refuse}`,
        ]),
      ],
    },
    {
      table: 'filter',
      name: name('OUTPUT'),
      hook: 'OUTPUT',
      rules: each(metadata, 'metadata_refused', (_, to) => `${to} ${foreign} ${refuse}`),
    },
    {
      table: 'filter',
      name: name('INPUT'),
      hook: 'INPUT',
      rules: each(claimable, 'metadata_refused', (_, to) => `${to} ${refuse}`),
    },
    {
      table: 'mangle',
      name: name('POSTROUTING'),
      hook: 'POSTROUTING',
      rules: [
        ...each(metadata, 'metadata_dropped', (_, to) => `${to} ${foreign} -j DROP`),
        ...each(broker, 'broker_forwarded', (_, to) => `${to} ${foreign} -j DROP`),
      ],
    },
    {
      table: 'mangle',
      name: name('PREROUTING'),
      hook: 'PREROUTING',
      rules: [
        ...each(broker, undefined, (_, to) =>
          inner.filter(own).map((prefix) => `-s ${prefix} ${to} -j RETURN`),
        ),
        ...each(broker, 'broker_outside', (_, to) => `${to} -m rpfilter --invert -j DROP`),
      ],
    },
    {
      table: 'mangle',
      name: name('INPUT'),
      hook: 'INPUT',
      rules: each(broker, 'broker_outside', (_, to) => [
        ...uplinks.map((uplink) => `${to} -i ${uplink.replace(/\*$/, '+')} -j DROP`),
        ...outer.filter(own).map((prefix) => `-s ${prefix} ${to} ! -i lo -j DROP`),
        `${to} -m conntrack --ctstate DNAT -j DROP`,
      ]),
    },
    {
      table: 'nat',
      name: name('PIN'),
      hook: 'PREROUTING',
      rules: each([...broker, ...claimable], undefined, pin),
    },
    {
      table: 'nat',
      name: name('PIN-OUTPUT'),
      hook: 'OUTPUT',
      rules: each(claimable, undefined, pin),
    },
  ]
}
