import { pino } from 'pino'
import { LOG_LEVELS, type LogFields, type Logger, type LogLevel } from './log.ts'

/** pino behind our {@link Logger}, printing the same shape as `lineLogger`. Writes synchronously, so that the last line before an exit is there. */
export function pinoLogger(component: string, level: LogLevel): Logger {
  const log = pino(
    {
      level,
      base: { component },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 1, sync: true }),
  )
  const at = (name: LogLevel) => (message: string, fields?: LogFields) => log[name](fields ?? {}, message)
  return Object.fromEntries(LOG_LEVELS.map((name) => [name, at(name)])) as Logger
}
