import { isMaintainedChain } from '../iptables/maintained-chains.ts'
import type { NatRule } from '../iptables/nat-rules.ts'
import { type ParsedRule, parseRule } from '../iptables/rule-options.ts'
import { GUARD_CHAINS } from '../rules/guard-iptables.ts'

/** A rule of another tool that takes the metadata service's traffic, and the command that removes it. */
export type Leftover = { readonly kind: string; readonly rule: string; readonly remove: string }

const MAX_RULE = 500

/**
 * Finds rules such as kube2iam and kiam leave behind: DNAT (or REDIRECT) of packets to a metadata address. Both append
 * `-d 169.254.169.254/32 -i IFACE -p tcp --dport 80 -j DNAT --to-destination HOST:PORT` to nat PREROUTING. A rule does not
 * show which of the two made it, except where the interface is negated, which only kiam does.
 *
 * @param metadata addresses of the metadata service
 */
export function findLeftovers(rules: readonly NatRule[], metadata: readonly string[]): Leftover[] {
  return rules.flatMap(({ command, rule }) => {
    const parsed = parseRule(rule)
    if (parsed === undefined || !takesMetadata(parsed, metadata)) return []
    const { chain, words } = parsed
    if (isMaintained(parsed)) return []
    return [
      {
        kind: kindOf(parsed),
        rule: `${command} ${rule}`.slice(0, MAX_RULE),
        remove: [command, '-t', 'nat', '-D', chain, ...words].map(quote).join(' '),
      },
    ]
  })
}

function isMaintained({ chain, option }: ParsedRule): boolean {
  const marks = [option('--comment')?.value, option('--name')?.value]
  return isMaintainedChain(chain) || marks.some((mark) => mark?.startsWith(GUARD_CHAINS))
}

function takesMetadata({ option }: ParsedRule, metadata: readonly string[]): boolean {
  const destination = option('-d')
  const address = destination?.value?.replace(/\/(?:32|128)$/, '')
  if (address === undefined || destination?.negated || !metadata.includes(address)) return false
  const target = option('-j')?.value
  if (target === 'REDIRECT') return true
  return target === 'DNAT' && !isItself(option('--to-destination')?.value, address, option('--dport')?.value)
}

/** DNAT to the same address changes nothing. Our own pins are such rules; they keep a Service from taking the address. */
const isItself = (to: string | undefined, address: string, port: string | undefined) =>
  to !== undefined && [address, `${address}:${port}`, `[${address}]`, `[${address}]:${port}`].includes(to)

function kindOf({ chain, option }: ParsedRule): string {
  const port = option('--dport')
  if (chain !== 'PREROUTING' || port?.value !== '80' || port.negated) return 'metadata-dnat'
  return option('-i')?.negated ? 'kiam' : 'kube2iam-or-kiam'
}

/** Quotes a word for a shell, so that the text of a rule is never executed as a command. */
function quote(word: string): string {
  return /^[\w./:@%+=,!-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
