/** Folds lines, so that a terminal of 80 columns shows them as they were meant. */

/** Columns of a line at most, where a text can be broken at all. */
export const WIDTH = 80

/** Places to break at, the best first: each is a text that stays at the end of a line. */
const BREAKS: readonly (readonly string[])[] = [[' '], [',', ';'], ['/', ':']]

/**
 * A text as lines of at most {@link WIDTH} columns, each behind its indent: broken at spaces, otherwise behind commas,
 * otherwise behind slashes. A word without any of these stays as long as it is.
 *
 * @param rest indent of every line but the first
 */
export function fold(text: string, indent: string, rest = `${indent}  `): string[] {
  return broken(text, indent, rest, BREAKS, 0)
}

/** Words of a shell command, those in quotes whole, and an option or a pipe together with what belongs to it. */
const WORDS = /(?:(?:-[HXcno]|\|) )*(?:[^\s'"]|'[^']*'|"[^"]*")+/g

/**
 * A shell command over as many lines as it takes, still one that can be pasted: only at spaces, with a backslash at each end.
 * An argument in quotes stays on one line, however long.
 */
export function foldCommand(command: string, indent: string): string[] {
  const words = command.match(WORDS) ?? [command]
  // A comment ends a command, and does not go on behind a backslash.
  if (indent.length + command.length <= WIDTH || command.includes(' #')) return [indent + command]
  const lines: string[] = []
  let line = indent
  for (const [index, word] of words.entries()) {
    const room = WIDTH - (index === words.length - 1 ? 0 : ' \\'.length)
    if (line.trim() !== '' && line.length + 1 + word.length > room) {
      lines.push(`${line} \\`)
      line = `${indent}    ${word}`
    } else line += line.trim() === '' ? word : ` ${word}`
  }
  return [...lines, line]
}

function broken(
  text: string,
  indent: string,
  rest: string,
  breaks: readonly (readonly string[])[],
  done: number,
): string[] {
  if (done > 1000 || indent.length + text.length <= WIDTH) return [indent + text]
  const room = WIDTH - indent.length
  const at = breakOf(text, room, breaks)
  if (at === undefined) return [indent + text]
  const line = (indent + text.slice(0, at)).trimEnd()
  return [line, ...broken(text.slice(at).trimStart(), rest, rest, breaks, done + 1)]
}

/** Where the next line begins: of the best kind of place that fills half of the line at least; else the last of any kind. */
function breakOf(text: string, room: number, breaks: readonly (readonly string[])[]): number | undefined {
  const last = (marks: readonly string[]) =>
    Math.max(...marks.map((mark) => text.lastIndexOf(mark, mark === ' ' ? room : room - 1))) + 1
  const leading = text.length - text.trimStart().length
  const places = breaks.map(last).filter((at) => at > leading)
  return places.find((at) => at >= room / 2) ?? (places.length > 0 ? Math.max(...places) : undefined)
}
