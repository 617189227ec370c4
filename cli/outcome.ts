/** 0: no problem; 1: something is wrong; 2: wrong usage, no access, or something could not be checked. */
export type ExitCode = 0 | 1 | 2

/** The result of a command, for every output format. */
export type Outcome = {
  /** The document of `--output json` and `yaml`. */
  readonly data: unknown
  /** The same for people, as lines that end with a line feed. */
  readonly text: (page: Page) => string
  readonly exit: ExitCode
}

/** The terminal or pipe that the output goes to. */
export type Page = {
  /** Columns; 80 if the width is not known. */
  readonly width: number
  readonly paint: Paint
}

export type Tone = 'good' | 'bad' | 'warning' | 'dim' | 'bold'
/** Colours a text if colours are enabled. */
export type Paint = (tone: Tone, text: string) => string

/** What could not be checked does not count as good; `failed` takes precedence over `unchecked`. */
export function exitCode(failed: boolean, unchecked: boolean): ExitCode {
  if (failed) return 1
  return unchecked ? 2 : 0
}
