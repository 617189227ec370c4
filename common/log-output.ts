/**
 * Where log lines go: to standard output, without ever waiting for whoever reads it. Where nobody drains the pipe, a
 * plain write would stop the only thread there is, and with it the application's requests (sidecar) or the repair of
 * the block (firewall).
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { type Logger, type LogLevel, lineLogger } from './log.ts'

const STDOUT = 1

/**
 * A logger on standard output. A line that finds no room is lost, and so is one that nobody can receive any more; as
 * soon as there is room again, a line says how many were.
 */
export function stdoutLogger(component: string, level: LogLevel): Logger {
  const fd = withoutWaiting()
  let lost = 0
  const write = (line: string) => {
    try {
      // In one piece: the kernel takes up to 4 KiB whole or not at all.
      writeSync(fd, lost > 0 ? lossLine(component, lost) + line : line)
      lost = 0
    } catch {
      lost++
    }
  }
  return lineLogger(component, level, write)
}

/** What stands in the log where lines are missing. */
function lossLine(component: string, lost: number): string {
  let line = ''
  lineLogger(component, 'warn', (text) => {
    line = text
  }).warn('log lines were lost: nobody read the output of this container', { lost })
  return line
}

/**
 * Standard output, opened once more where it is a pipe: O_NONBLOCK belongs to the open file, which other processes of
 * the container share. Where it cannot be opened, as it is.
 */
function withoutWaiting(): number {
  try {
    if (!fstatSync(STDOUT).isFIFO()) return STDOUT
    return openSync(`/proc/self/fd/${STDOUT}`, constants.O_WRONLY | constants.O_NONBLOCK)
  } catch {
    return STDOUT
  }
}
