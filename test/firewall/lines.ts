/** Each line of a ruleset that is not empty or a comment, with the ruleset without it. */
export function* without(ruleset: string): Generator<{ line: string; number: number; rest: string }> {
  const lines = ruleset.split('\n')
  for (const [index, line] of lines.entries()) {
    if (/^\s*(#|$)/.test(line)) continue
    yield { line: line.trim(), number: index + 1, rest: lines.toSpliced(index, 1).join('\n') }
  }
}

/** Errors of nft when a line is missing: a syntax error, or a reference to something that does not exist. */
export const MISSED = /syntax error|No such file or directory/
