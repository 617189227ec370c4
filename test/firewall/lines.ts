/** Each line of a ruleset that is not empty or a comment, with the ruleset that lacks it. */
export function* without(ruleset: string): Generator<{ line: string; number: number; rest: string }> {
  const lines = ruleset.split('\n')
  for (const [index, line] of lines.entries()) {
    if (/^\s*(#|$)/.test(line)) continue
    yield { line: line.trim(), number: index + 1, rest: lines.toSpliced(index, 1).join('\n') }
  }
}

/** How nft says that a line is missing: the grammar, or something that is referred to. */
export const MISSED = /syntax error|No such file or directory/
