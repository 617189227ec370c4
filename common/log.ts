/**
 * Logs: one JSON object per line on stdout, in one shape for all components. Never a secret, a token or an
 * access key.
 *
 * Three programs use `lineLogger` instead of pino because of measurements (Node 24): in the sidecar pino costs 1.3 MiB
 * and 10 ms of start per pod, in the gate 10 ms of every pod's start, in the guard 1.0 MiB idle and 2.3 MiB after 300
 * repairs. Broker and injector use pino (`pino-log.ts`), which prints the same shape. All but the gate write through `log-output.ts`, which never waits.
 */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Kinds of lines, from the least important, which is dropped first. `audit`: records who got or was refused what; marked by `audit: true`. */
export const LINE_KINDS = [...LOG_LEVELS, 'audit'] as const
export type LineKind = (typeof LINE_KINDS)[number]

/** The kind of a line of that level with these fields. */
export const lineKind = (level: LogLevel, fields: LogFields): LineKind =>
  fields.audit === true ? 'audit' : level

export type LogFields = Readonly<Record<string, unknown>>

/** `log.info('credentials issued', { pod: 'ns/name' })` */
export type Logger = { readonly [L in LogLevel]: (message: string, fields?: LogFields) => void }

/**
 * A logger that writes `{"time":"…Z","level":"info","component":"sidecar","msg":"…",…fields}`.
 *
 * @param write receives one line with its newline, and its kind
 * @param now the clock, milliseconds
 */
export function lineLogger(
  component: string,
  level: LogLevel,
  write: (line: string, kind: LineKind) => void = (line) => process.stdout.write(line),
  now: () => number = Date.now,
): Logger {
  const least = LOG_LEVELS.indexOf(level)
  const at = (name: LogLevel) => {
    if (LOG_LEVELS.indexOf(name) < least) return () => {}
    return (msg: string, fields: LogFields = {}) => {
      write(
        `${JSON.stringify({ time: new Date(now()).toISOString(), level: name, component, msg, ...fields })}\n`,
        lineKind(name, fields),
      )
    }
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
