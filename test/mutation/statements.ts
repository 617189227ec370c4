/**
 * What can be deleted from a source text: every statement, property and rule on lines of its own. They are found by their
 * indentation, which the formatter guarantees.
 */

export type Deletion = {
  /** First and last line, counted from 1. */
  readonly from: number
  readonly to: number
  /** The first line, trimmed. */
  readonly what: string
}

/** Lines without an effect at run time, or which only close what another line opened. */
const SILENT = /^(?:$|\/\/|\/?\*|import\b|export \{|export type\b|type\b|[\])}]|readonly\b|\|)/

/** Everything that can be deleted from a text in our format. */
export function deletions(source: string): Deletion[] {
  const lines = source.split('\n')
  return lines.flatMap((line, index) => {
    const what = line.trim()
    if (SILENT.test(what) || /^(?:export )?(?:async )?function\b/.test(what)) return []
    return [{ from: index + 1, to: endOf(lines, index) + 1, what }]
  })
}

/** The source without one deletion. */
export function without(source: string, { from, to }: Deletion): string {
  return source
    .split('\n')
    .filter((_, index) => index + 1 < from || index + 1 > to)
    .join('\n')
}

/** The last line of the block that begins at `start`: it includes deeper lines, and a closing line with the same indentation. */
function endOf(lines: readonly string[], start: number): number {
  const depth = indentation(lines[start] ?? '')
  let end = start
  for (let i = start + 1; i < lines.length; i++) {
    const line = lines[i] ?? ''
    if (line.trim() === '') continue
    const closes = indentation(line) === depth && /^\s*(?:[\])}]|else\b|\.|\?|: )/.test(line)
    if (indentation(line) < depth || (indentation(line) === depth && !closes)) break
    end = i
  }
  return end
}

function indentation(line: string): number {
  return line.length - line.trimStart().length
}
