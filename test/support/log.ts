import { type Logger, type LogLevel, lineLogger } from '../../common/log.ts'

/** A line of a log, as its readers receive it. */
export type LogLine = { readonly level: string; readonly msg: string; readonly [field: string]: unknown }

/** A log for tests that do not check it. */
export const silentLog: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/** A log that keeps its lines from level `least` on, without the time and the component. */
export function captureLog(least: LogLevel = 'debug'): { readonly log: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = []
  const write = (text: string) => {
    const { time, component, ...line } = JSON.parse(text)
    lines.push(line)
  }
  return { lines, log: lineLogger('test', least, write) }
}
