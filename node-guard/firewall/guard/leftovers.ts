import type { NatRule } from './nat-rules.ts'

/** A rule of another tool that takes the metadata service's traffic, and the command that removes it. */
export type Leftover = { readonly kind: string; readonly rule: string; readonly remove: string }

const MAX_RULE = 500

/**
 * Rules as kube2iam and kiam leave them: DNAT (or REDIRECT) of what is sent to a metadata address. Both append
 * `-d 169.254.169.254/32 -i IFACE -p tcp --dport 80 -j DNAT --to-destination HOST:PORT` to nat PREROUTING, so that a
 * rule does not tell which of them it was; kiam alone negates the interface.
 *
 * @param metadata addresses of the metadata service
 */
export function findLeftovers(rules: readonly NatRule[], metadata: readonly string[]): Leftover[] {
  return rules.flatMap(({ command, rule }) => {
    const words = splitWords(rule)
    const destination = wordAfter(words, '-d')?.replace(/\/(?:32|128)$/, '')
    const target = wordAfter(words, '-j')
    if (destination === undefined || !metadata.includes(destination)) return []
    if (target !== 'DNAT' && target !== 'REDIRECT') return []
    const [, chain, ...rest] = words
    if (chain === undefined) return []
    return [
      {
        kind: kindOf(chain, words),
        rule: `${command} ${rule}`.slice(0, MAX_RULE),
        remove: [command, '-t', 'nat', '-D', chain, ...rest].map(quote).join(' '),
      },
    ]
  })
}

function kindOf(chain: string, words: readonly string[]): string {
  if (chain !== 'PREROUTING' || wordAfter(words, '--dport') !== '80') return 'metadata-dnat'
  const negated = words[words.indexOf('-i') - 1] === '!'
  return negated ? 'kiam' : 'kube2iam-or-kiam'
}

function wordAfter(words: readonly string[], option: string): string | undefined {
  const at = words.indexOf(option)
  return at < 0 ? undefined : words[at + 1]
}

/** The words of a line of iptables-save, which puts words with blanks into double quotes, with backslashes before " and \. */
function splitWords(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|\S+/g)].map(([word, quoted]) =>
    quoted === undefined ? word : quoted.replaceAll(/\\(.)/g, '$1'),
  )
}

/** For a shell: whoever made the rule must not make a command of it. */
function quote(word: string): string {
  return /^[\w./:@%+=,!-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
