import { pino } from 'pino'
import { LOG_LEVELS, type LogFields, type Logger, type LogLevel, lineKind } from './log.ts'
import { stdoutLines } from './log-output.ts'

/** Characters that may wait: about 800 audit lines, which is little for a process that uses tens of megabytes. */
const MAX_WAITING = 256 * 1024

/**
 * pino behind our {@link Logger}, printing the same shape as `lineLogger`, through the same output (`log-output.ts`): a line is
 * written before the call returns, so that the last one before an exit is not lost, unless the output is not read.
 */
export function pinoLogger(component: string, level: LogLevel): Logger {
  const lines = stdoutLines(component, MAX_WAITING)
  // pino writes each line before the call returns, so that this kind is that of the line being written.
  let kind: Parameters<typeof lines.write>[1] = level
  const log = pino(
    {
      level,
      base: { component },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => lines.write(line, kind) },
  )
  const at =
    (name: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      kind = lineKind(name, fields)
      log[name](fields, message)
    }
  return Object.fromEntries(LOG_LEVELS.map((name) => [name, at(name)])) as Logger
}
