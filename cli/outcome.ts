/** 0: all well; 1: something is wrong; 2: usage, no access, or something that could not be looked at. */
export type ExitCode = 0 | 1 | 2

/** What a command has to say, in every form of output. */
export type Outcome = {
  /** The document of `--output json` and `yaml`. */
  readonly data: unknown
  /** The same for people, as lines that end in a line feed. */
  readonly text: (page: Page) => string
  readonly exit: ExitCode
}

/** What is printed on. */
export type Page = {
  /** Columns; 80 where nobody knows. */
  readonly width: number
  readonly paint: Paint
}

export type Tone = 'good' | 'bad' | 'warning' | 'dim' | 'bold'
/** Colours a text, where colours are wanted. */
export type Paint = (tone: Tone, text: string) => string

/** Nothing is well that could not be looked at: `failed` wins over `unseen`. */
export function exitCode(failed: boolean, unseen: boolean): ExitCode {
  if (failed) return 1
  return unseen ? 2 : 0
}
