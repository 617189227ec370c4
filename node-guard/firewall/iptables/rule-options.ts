/** One option of a rule, with its argument where it has one. */
type RuleOption = { readonly value: string | undefined; readonly negated: boolean }

/** A parsed rule of iptables-save(8). */
export type ParsedRule = {
  readonly chain: string
  /** All words after the chain's name, unquoted. */
  readonly words: readonly string[]
  /** The first occurrence of an option. */
  readonly option: (name: string) => RuleOption | undefined
}

/** Options whose argument is free text, which may look like an option. */
const FREE_TEXT: ReadonlySet<string> = new Set([
  '--comment',
  '--name',
  '--string',
  '--hex-string',
  '--log-prefix',
  '--nflog-prefix',
])

/** Parses a line `-A CHAIN …`; undefined for any other line. */
export function parseRule(line: string): ParsedRule | undefined {
  const [append, chain, ...words] = splitWords(line)
  if (append !== '-A' || chain === undefined) return undefined
  const options = new Map<string, RuleOption>()
  let negated = false
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? ''
    if (word.startsWith('-')) {
      if (!options.has(word)) options.set(word, { value: words[at + 1], negated })
      if (FREE_TEXT.has(word)) at++
    }
    negated = word === '!'
  }
  return { chain, words, option: (name) => options.get(name) }
}

/** The words of a line of iptables-save, which quotes words with blanks, with backslashes before " and \. */
function splitWords(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|\S+/g)].map(([word, quoted]) =>
    quoted === undefined ? word : quoted.replaceAll(/\\(.)/g, '$1'),
  )
}
