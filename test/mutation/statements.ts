/**
 * Where a source text can lose something: every statement, property and rule that stands on lines of its own. Goes by
 * indentation, which the formatter keeps honest.
 */

export type Deletion = {
  /** First and last line, counted from 1. */
  readonly from: number
  readonly to: number
  /** The first line, trimmed. */
  readonly what: string
}

/** Lines that say nothing at run time or only close what another line opened. */
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

/** The source without one of them. */
export function without(source: string, { from, to }: Deletion): string {
  return source
    .split('\n')
    .filter((_, index) => index + 1 < from || index + 1 > to)
    .join('\n')
}

/** The last line of what begins at `start`: deeper lines belong to it, and a closing line at its own depth. */
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
