/** What the demo prints: steps, what was run, what came back, and whether it shows what it should. */

export type Output = {
  /** Begins a numbered step. */
  readonly step: (title: string) => void
  /** A sentence of the story. */
  readonly say: (text: string) => void
  /** A command as a person would type it, and what came back. */
  readonly ran: (command: string, output?: string) => void
  /** Something the demo promises: printed with a tick, or counted as a failure. */
  readonly shows: (condition: boolean, what: string) => void
  /** Something this machine cannot show, by name. */
  readonly leftOut: (what: string, why: string) => void
  readonly failures: readonly string[]
  readonly omissions: readonly string[]
}

/** @param write receives one line without its newline */
export function createOutput(write: (line: string) => void, color: boolean): Output {
  const paint = (code: number, text: string) => (color ? `\u001b[${code}m${text}\u001b[0m` : text)
  const indented = (text: string) => {
    for (const line of text.trimEnd().split('\n')) write(`    ${line}`)
  }
  const failures: string[] = []
  const omissions: string[] = []
  let steps = 0
  return {
    failures,
    omissions,
    step: (title) => write(`\n${paint(1, `${++steps}. ${title}`)}\n`),
    say: (text) => write(`  ${text}`),
    ran: (command, output = '') => {
      write(`  ${paint(36, `$ ${command}`)}`)
      if (output.trim() !== '') indented(output)
    },
    shows: (condition, what) => {
      write(condition ? `  ${paint(32, '✔')} ${what}` : `  ${paint(31, '✖ NOT SHOWN:')} ${what}`)
      if (!condition) failures.push(what)
    },
    leftOut: (what, why) => {
      write(`  ${paint(33, '–')} left out: ${what} (${why})`)
      omissions.push(what)
    },
  }
}

/** Shortens what must not stand on a screen: keeps the first characters of every secret value in a JSON text. */
export function shortenSecrets(text: string): string {
  return text.replace(
    /("(?:SecretAccessKey|Token)"\s*:\s*")([^"]{6})[^"]*(")/g,
    (_, before: string, start: string, after: string) => `${before}${start}…${after}`,
  )
}
