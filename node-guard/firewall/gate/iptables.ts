import { existsSync } from 'node:fs'
import type { Exec } from '../exec.ts'
import { type Chain, restoreInput } from '../iptables/chains.ts'
import { type Family, type Iptables, restore } from '../iptables/command.ts'
import { readSaved } from '../iptables/reading.ts'
import type { Purpose } from './pod-rules.ts'
import type { RedirectRuleset } from './ruleset.ts'

/** The pod's chain, first in nat OUTPUT; the names of all of ours begin so. */
export const REDIRECT_CHAIN = 'POD2IAM-REDIRECT'
/** First in filter INPUT. */
export const DIRECT_CHAIN = 'POD2IAM-REDIRECT-ONLY'

/** No other process of this container takes the lock, and its root may be read-only. */
const LOCK_FILE = '/dev/null'

/**
 * The pod's rules for iptables: first in nat OUTPUT, where a mesh appends its own (Istio, Linkerd). Of the variants'
 * nat tables the one made last is asked first; with our chain in both, a mesh comes after it, whichever it takes and
 * whenever it comes. iptables-legacy needs NET_RAW; without it only iptables-nft is used.
 *
 * @returns why no variant could, or undefined
 */
export async function loadByIptables(
  exec: Exec,
  options: RedirectRuleset,
  purpose: Purpose,
): Promise<string | undefined> {
  // A kernel without IPv6 has nothing to redirect there.
  const families: Family[] = existsSync('/proc/net/if_inet6') ? [4, 6] : [4]
  const variants = (['nft', 'legacy'] as const).map(async (variant) => {
    const loads = families.map((family) =>
      loadChains({ exec, variant, family, prefix: REDIRECT_CHAIN, lockFile: LOCK_FILE }, [
        redirectChain(options, purpose, family),
        directChain(options, purpose, family),
      ]),
    )
    return (await Promise.all(loads)).find((failed) => failed !== undefined)
  })
  const failures = (await Promise.all(variants)).filter((failed) => failed !== undefined)
  return failures.length < variants.length ? undefined : failures.join('; ')
}

async function loadChains(tool: Iptables, chains: readonly Chain[]): Promise<string | undefined> {
  const read = await readSaved(tool)
  if (!read.ok) return read.detail
  const result = await restore(tool, restoreInput(chains, read.saved))
  return result.ok ? undefined : result.detail
}

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
