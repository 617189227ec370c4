/** Why a command cannot produce any result: exit code 2. */
export class CliError extends Error {
  /** Stable, for scripts. */
  readonly code: string
  /** What to do about it. */
  readonly remedy: string

  /** @param message one sentence without a full stop at its end */
  constructor(code: string, message: string, remedy: string, options: { readonly cause?: unknown } = {}) {
    super(message, options)
    this.name = 'CliError'
    this.code = code
    this.remedy = remedy
  }
}
