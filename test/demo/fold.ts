/** Folds lines, so that a terminal of 80 columns shows them as intended. */

/** The most columns of a line, if a text can be folded at all. */
export const WIDTH = 80

/** The places at which a line can end, the best first: each is a text at the end of a line. */
const BREAKS: readonly (readonly string[])[] = [[' '], [',', ';'], ['/', ':']]

/**
 * A text as lines of at most {@link WIDTH} columns, each after its indent: folded at spaces, otherwise after commas, otherwise
 * after slashes. A word without any of these stays as long as it is.
 *
 * @param rest the indent of every line except the first
 */
export function fold(text: string, indent: string, rest = `${indent}  `): string[] {
  return broken(text, indent, rest, BREAKS, 0)
}

/** The words of a shell command: a quoted argument is one word, and an option or a pipe is one word with what belongs to it. */
const WORDS = /(?:(?:-[HXcno]|\|) )*(?:[^\s'"]|'[^']*'|"[^"]*")+/g

/**
 * A shell command on as many lines as it needs, which can still be pasted: folded only at spaces, with a backslash at each end.
 * A quoted argument stays on one line, however long it is.
 */
export function foldCommand(command: string, indent: string): string[] {
  const words = command.match(WORDS) ?? [command]
  // A comment ends a command, and cannot be continued after a backslash.
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

/** Where the next line begins: at the best kind of place that fills at least half of the line, otherwise at the last place of any kind. */
function breakOf(text: string, room: number, breaks: readonly (readonly string[])[]): number | undefined {
  const last = (marks: readonly string[]) =>
    Math.max(...marks.map((mark) => text.lastIndexOf(mark, mark === ' ' ? room : room - 1))) + 1
  const leading = text.length - text.trimStart().length
  const places = breaks.map(last).filter((at) => at > leading)
  return places.find((at) => at >= room / 2) ?? (places.length > 0 ? Math.max(...places) : undefined)
}
