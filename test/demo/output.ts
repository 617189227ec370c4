/** The output of the demo: steps, commands, their results, and whether these show what they should. */
import { fold, foldCommand } from './fold.ts'

export type Output = {
  /** Begins a numbered step. */
  readonly step: (title: string) => void
  /** A sentence of the story. */
  readonly say: (text: string) => void
  /** A command as a person would type it, and its result. */
  readonly ran: (command: string, output?: string) => void
  /** Something the demo promises: printed with a tick, or counted as a failure. */
  readonly shows: (condition: boolean, what: string) => void
  /** Something that this machine cannot show, with the reason. */
  readonly leftOut: (what: string, why: string) => void
  /** The number of promises that have been shown so far. */
  readonly shown: number
  readonly failures: readonly string[]
  readonly omissions: readonly string[]
}

/** @param write receives one line without its newline */
export function createOutput(write: (line: string) => void, color: boolean): Output {
  const paint = (code: number, text: string) => (color ? `\u001b[${code}m${text}\u001b[0m` : text)
  const all = (lines: readonly string[]) => {
    for (const line of lines) write(line)
  }
  /** A sentence after a mark, of which only the mark has a colour, which is added after the lines are folded. */
  const marked = (code: number, mark: string, text: string) => {
    const [first = '', ...rest] = fold(`${mark} ${text}`, '  ', '    ')
    all([first.replace(mark, paint(code, mark)), ...rest])
  }
  const failures: string[] = []
  const omissions: string[] = []
  let [steps, shown] = [0, 0]
  return {
    failures,
    omissions,
    get shown() {
      return shown
    },
    step: (title) => {
      write('')
      all(fold(`${++steps}. ${title}`, '', '   ').map((line) => paint(1, line)))
      write('')
    },
    say: (text) => {
      const [lead = ''] = /^\s*/.exec(text) ?? []
      all(fold(text, '  ', lead === '' ? '  ' : `  ${lead}  `))
    },
    ran: (command, output = '') => {
      all(foldCommand(`$ ${command}`, '  ').map((line) => paint(36, line)))
      if (output.trim() === '') return
      for (const line of output.trimEnd().split('\n')) {
        // This includes the lines of a diff, which all begin with a plus.
        const [lead = ''] = /^(?:\+ )?\s*/.exec(line) ?? []
        all(fold(line, '    ', `    ${lead}  `))
      }
    },
    shows: (condition, what) => {
      if (condition) {
        shown++
        marked(32, '✔', what)
      } else {
        failures.push(what)
        marked(31, '✖ NOT SHOWN:', what)
      }
    },
    leftOut: (what, why) => {
      marked(33, '–', `left out: ${what} (${why})`)
      omissions.push(what)
    },
  }
}

/** Shortens what must not be on a screen: only the first characters of every secret value in a JSON text are kept. */
export function shortenSecrets(text: string): string {
  return text.replace(
    /("(?:SecretAccessKey|Token)"\s*:\s*")([^"]{6})[^"]*(")/g,
    (_, before: string, start: string, after: string) => `${before}${start}…${after}`,
  )
}
