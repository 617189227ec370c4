import { type Chain, type Family, ofFamily } from './iptables.ts'
import type { Purpose, RedirectRuleset } from './pod.ts'

/** The pod's chain, first in nat OUTPUT; also the prefix of all our chains in a pod. */
export const REDIRECT_CHAIN = 'POD2IAM-REDIRECT'
/** First in filter INPUT. */
const DIRECT_CHAIN = 'POD2IAM-REDIRECT-ONLY'

/** What the output chain of `proofRuleset` and `redirectRuleset` does in nft, one family. */
export function redirectChain(
  { metadata, broker, brokerPort, sidecarPort }: RedirectRuleset,
  purpose: Purpose,
  family: Family,
): Chain {
  const own = ofFamily(family)
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

/** What their input chain does. RETURN, not ACCEPT, so that the rules of other programs in INPUT still apply. */
export function directChain(
  { metadata, sidecarPort }: RedirectRuleset,
  purpose: Purpose,
  family: Family,
): Chain {
  const to = `-p tcp -m tcp --dport ${sidecarPort}`
  const own = metadata.filter(ofFamily(family))
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
