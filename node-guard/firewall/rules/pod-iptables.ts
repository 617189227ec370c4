import type { Chain } from '../iptables/chains.ts'
import type { Family } from '../iptables/command.ts'
import type { Purpose, RedirectRuleset } from './pod.ts'

/** The pod's chain, first in nat OUTPUT; the names of all of ours begin so. */
export const REDIRECT_CHAIN = 'POD2IAM-REDIRECT'
/** First in filter INPUT. */
const DIRECT_CHAIN = 'POD2IAM-REDIRECT-ONLY'

/** The same as `proofRuleset` and `redirectRuleset` say in nft in their output chain, one family. */
export function redirectChain(
  { metadata, broker, brokerPort, sidecarPort }: RedirectRuleset,
  purpose: Purpose,
  family: Family,
): Chain {
  const own = (address: string) => address.includes(':') === (family === 6)
  const to = (address: string, port: number) =>
    `-d ${address}/${family === 6 ? 128 : 32} -p tcp -m tcp --dport ${port}`
  const identity = (port: number) => (address: string) => ({
    rule: `${to(address, port)} -j DNAT --to-destination ${address}`,
  })
  const redirect = (address: string) => ({ rule: `${to(address, 80)} -j REDIRECT --to-ports ${sidecarPort}` })
  return {
    table: 'nat',
    name: REDIRECT_CHAIN,
    hook: 'OUTPUT',
    rules:
      purpose === 'proof'
        ? metadata.filter(own).map(identity(80))
        : [...metadata.filter(own).map(redirect), ...broker.filter(own).map(identity(brokerPort))],
  }
}

/** The same in their input chain. RETURN and not ACCEPT, which would keep others' rules of this chain from being asked. */
export function directChain(
  { metadata, sidecarPort }: RedirectRuleset,
  purpose: Purpose,
  family: Family,
): Chain {
  const to = `-p tcp -m tcp --dport ${sidecarPort}`
  const own = metadata.filter((address) => address.includes(':') === (family === 6))
  const redirected = (address: string) => ({
    rule: `${to} -m conntrack --ctorigdst ${address} --ctorigdstport 80 -j RETURN`,
  })
  const loopback = family === 6 ? '::1/128' : '127.0.0.1/32'
  return {
    table: 'filter',
    name: DIRECT_CHAIN,
    hook: 'INPUT',
    rules: [
      ...(purpose === 'redirect' ? own.map(redirected) : []),
      { rule: `-d ${loopback} ${to} -j REJECT --reject-with tcp-reset` },
    ],
  }
}
